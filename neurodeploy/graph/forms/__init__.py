"""What a graph looks like in another format, as plain data.

A writer turns these forms into files; a reader makes them again from what it read and compares, so
that nothing in a file can be edited without being used or refused. No format's library is
imported here.
"""

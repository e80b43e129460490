"""The integer program, what it means, how it is stored, and the limits it keeps."""

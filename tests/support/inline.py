"""Reading files in this process: hundreds of children would take minutes."""

from __future__ import annotations


def call(reader, path, limits, **more):
    """Stand in for `frontends.child.call`."""
    return reader(path, **more)

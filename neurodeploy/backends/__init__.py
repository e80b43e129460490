"""Backends: each turns a program into something that runs, or a graph into a file."""

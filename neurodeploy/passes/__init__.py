"""Passes: from the trained graph to the integer program."""

"""NIR files: a float graph (`graph`)."""

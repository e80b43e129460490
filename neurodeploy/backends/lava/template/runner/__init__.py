"""Ways of running the network of this bundle, and of comparing what it did."""


class ProcessFailedError(RuntimeError):
    """A Lava process raised, or ended early; the message is its traceback."""

"""What the installed onnxruntime can do."""

from __future__ import annotations

import onnxruntime
import pytest

_VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])

doubles = pytest.mark.skipif(
    _VERSION < (1, 24),
    reason="onnxruntime before 1.24, the last for Python 3.10, has no cosine of doubles",
)

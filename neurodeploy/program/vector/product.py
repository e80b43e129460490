"""The product of two operands: exact; all rounding is that of the formats around it."""

from __future__ import annotations

from neurodeploy.program.vector.base import Kind

KIND = Kind("product", 2, lambda params, a, b: a * b, lambda width: {"mul": 1})

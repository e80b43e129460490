"""The errors a user can cause. Each says what is wrong, where, and what to do.

One class per exit code; one stable code per kind of message (`CODES`). Several errors of one
run are reported together: `raise together(errors)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

CODES = {
    "E101": "a file cannot be read, or is not what its name says",
    "E102": "a file holds pickled code, which is never loaded",
    "E103": "a model file holds weights without an architecture",
    "E104": "a model has layers that are not known",
    "E105": "a parameter is outside its range, or is not a finite number",
    "E106": "input data does not fit the model",
    "E107": "a graph breaks a rule, or does not belong to the program",
    "E108": "a conversion would lose something",
    "E109": "a program folder is damaged",
    "E110": "an output cannot be written",
    "E201": "a target, price table, architecture or paper table is unknown",
    "E202": "a target, price or architecture file is malformed",
    "E301": "a program needs more than the target has",
    "E302": "a constant is lost in the target's number format",
    "E303": "a neuron model or operation does not exist on the target",
    "E304": "a target does not say how long its steps take",
    "E305": "a program's arithmetic is not the target's",
    "E401": "a pass changed what the network computes",
    "E402": "two backends disagree",
    "E601": "an optional package is not installed",
    "E602": "the Lava environment is not available",
    "E603": "a board is not available",
    "E604": "a tool failed or did not answer",
    "E605": "a cluster is not available, or not fit",
}


class NeurodeployError(Exception):
    """Base of every error that is reported without a traceback."""

    exit_code = 1

    def __init__(self, code: str, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.code, self.what, self.where, self.fix = code, what, where, fix
        self.others: tuple[NeurodeployError, ...] = ()

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}"]
        lines += [f"  at: {self.where}"] if self.where else []
        lines += [f"  fix: {self.fix}"] if self.fix else []
        return "\n".join([*lines, *map(str, self.others)])

    def records(self) -> list[dict[str, Any]]:
        """Return this error and those reported with it as plain data, for `--json`."""
        own = {"code": self.code, "what": self.what, "where": self.where, "fix": self.fix}
        return [own, *(record for other in self.others for record in other.records())]


class InputError(NeurodeployError):
    """Bad or unsupported input: a file, a model, data, a target name."""

    exit_code = 3


class FitError(NeurodeployError):
    """A valid network does not fit the target."""

    exit_code = 4


class MismatchError(NeurodeployError):
    """A verification failed."""

    exit_code = 5


class ToolError(NeurodeployError):
    """A tool, package or board is not available."""

    exit_code = 6


def together(errors: Sequence[NeurodeployError]) -> NeurodeployError:
    """Return the first error, carrying the others, so that all are reported at once."""
    first, *others = errors
    first.others = (*first.others, *others)
    return first


def require_rows(steps: int, rows: int | None, where: str) -> None:
    """Raise InputError E106 if a sequence is longer than a table with `rows` rows, if any."""
    if rows is not None and steps > rows:
        raise InputError(
            "E106",
            f"a sequence of {steps} steps is longer than the table of {rows} steps",
            where=where,
            fix=f"give at most {rows} steps, or train with a table of {steps} steps",
        )


def require_counts(**counts: Any) -> None:
    """Raise InputError E105 unless every number is whole, and at least 1."""
    for name, value in counts.items():
        if not (isinstance(value, Integral) and int(value) >= 1):
            fix = "give a whole number, one or more"
            raise InputError("E105", f"{name} is {value!r}", fix=fix)

"""Bring a compiled program to another target, its integers as they are.

    program(x) = retarget(program)(x), bit for bit

Only delays and placement are made anew, by the passes that made them first. What the integers ask
of the target beyond that is a problem: formats, arithmetic, limits. A model compiled for the target
may do better: its integers are made for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from neurodeploy.errors import FitError, NeurodeployError, together
from neurodeploy.passes.align_delays import AlignDelays
from neurodeploy.passes.place import Place
from neurodeploy.program import limits
from neurodeploy.program.formats import FORMATS, differences
from neurodeploy.program.ir import Program
from neurodeploy.targets import Target


@dataclass(frozen=True)
class Retarget:
    """Move a program to `target`."""

    target: Target
    name: str = "retarget"

    def __call__(self, program: Program) -> Program:
        """Return the program on its new target, placed by `Place`.

        Raises FitError with all problems at once: E301 and E303 as the compiler does, E301 for
        formats that are too narrow, E305 for arithmetic that differs.
        """
        problems: list[NeurodeployError] = [
            *differences(program, self.target),
            *limits.problems(program, self.target, FORMATS),
        ]
        numbers = replace(self.target.numbers, weight_bits=program.numbers.weight_bits)
        moved = replace(program, target=self.target, numbers=numbers)
        try:
            moved = AlignDelays(self.target)(moved)
        except FitError as error:
            problems.append(error)
        moved = Place(self.target)(moved)
        problems += limits.problems(moved, self.target)
        if problems:
            raise together(problems)
        return moved

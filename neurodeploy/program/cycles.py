"""How many clock cycles a run takes on a target's machine, core by core and link by link.

Counts and times only. What a cycle is made of is in `backends/simulator/cycles`; the figures are
the target's `[cycles]` table, which travels along as `machine`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neurodeploy.program.ir import Ints
from neurodeploy.targets.cycles import Machine

STAGES = ("neuron", "emit", "route", "synapse", "drain")


@dataclass(frozen=True, kw_only=True)
class CoreLoad:
    """What one core did, over all steps and samples; cycles."""

    core: int
    stages: tuple[int, ...]  #: until it was done, by `STAGES`; each ends where the next begins
    critical: int  #: steps in which it was done last
    updating: int  #: in which its lanes were given neurons
    adding: int  #: in which its synapses were occupied
    sent: int  #: packets
    received: int  #: packets
    words: int  #: read from its weight memory


@dataclass(frozen=True, kw_only=True)
class LinkLoad:
    """What passed from the router at (x, y) towards `direction`, over all steps and samples."""

    x: int
    y: int
    direction: str
    packets: int
    busy: int  #: cycles
    waited: int  #: cycles that packets stood in front of it, together


@dataclass(frozen=True, kw_only=True)
class PhaseLoad:
    """One phase of a step: the nodes that are updated in it, and its cycles over all samples.

    `stages` are those of the core that was done last, each time, by `STAGES`; then the barriers.
    """

    nodes: tuple[str, ...]
    stages: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """All stages and barriers."""
        return sum(self.stages)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cycles:
    """The cycles of a run of B samples.

    steps [H, B] has those of every step, barrier included; critical [H, B] the core that was done
    last (in the step's longest phase). H is the steps of the input and of the program's latency.
    stages [H, cores, 5] has the cycles of every core of `cores` by `STAGES`, summed over samples.
    """

    machine: Machine
    steps: Ints
    critical: Ints
    stages: Ints
    cores: tuple[CoreLoad, ...]
    links: tuple[LinkLoad, ...]
    phases: tuple[PhaseLoad, ...]

    @cached_property
    def inferences(self) -> Ints:
        """The cycles of each sample, [B]."""
        return np.asarray(self.steps.sum(axis=0))

    @property
    def total(self) -> int:
        """The cycles of all samples, one after another."""
        return int(self.inferences.sum())

    @property
    def latency_s(self) -> float:
        """The mean time of one inference."""
        return self.total / max(len(self.inferences), 1) / self.machine.clock_hz

    @property
    def latency_max_s(self) -> float:
        """The time of the slowest inference."""
        return int(self.inferences.max(initial=0)) / self.machine.clock_hz

    @property
    def throughput_hz(self) -> float:
        """Inferences per second, one after another."""
        return 1 / self.latency_s if self.total else 0.0

    @property
    def bottleneck(self) -> int | None:
        """The core that is done last in most steps, the lower number where several are."""
        counts = Counter({load.core: load.critical for load in self.cores})
        return min(counts, key=lambda core: (-counts[core], core), default=None)

    def utilisation(self) -> dict[str, float]:
        """Return how busy lanes, synapses and links are, of the cycles of all that are in use."""
        lanes = sum(load.updating for load in self.cores)
        synapses = sum(load.adding for load in self.cores)
        links = sum(load.busy for load in self.links)
        cores, edges = len(self.cores) * self.total, len(self.links) * self.total
        return {
            "neuron_lanes": lanes / cores if cores else 0.0,
            "synapses": synapses / cores if cores else 0.0,
            "links": links / edges if edges else 0.0,
        }

    def by_stage(self) -> dict[str, int]:
        """Return all cycles by what the core that was done last was then doing."""
        sums = np.sum([phase.stages for phase in self.phases], axis=0)
        return {name: int(value) for name, value in zip((*STAGES, "barrier"), sums, strict=True)}


def step_percentiles(cycles: Cycles) -> dict[str, int]:
    """Return the cycles of the shortest, median and longest step."""
    if not cycles.steps.size:
        return dict.fromkeys(("min", "median", "max"), 0)
    low, middle, high = np.percentile(cycles.steps, (0, 50, 100), method="lower").astype(int)
    return {"min": int(low), "median": int(middle), "max": int(high)}

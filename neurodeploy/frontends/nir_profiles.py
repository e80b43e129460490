"""What each tool writes into NIR files: how its neurons are read, what it loses, how to tell it.

A NIR file does not say who wrote it. A profile `fits` where every neuron is what its tool writes;
where one profile alone fits, the file decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurodeploy.frontends import nir_tools as tools
from neurodeploy.frontends.nir_cells import EXACT, Recover

NEURONS = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF")
_ROUND = (1.0, 2.0, 5.0)  # leading digits of the step lengths that people choose


@dataclass(frozen=True, eq=False)
class Seen:
    """A node with neurons as it stands in the file: its arrays, and whether it is in a loop."""

    type: str
    fields: Mapping[str, Any]
    looped: bool

    def near(self, key: str, value: Any) -> bool:
        """Whether a field, if it is there, has these values."""
        if key not in self.fields:
            return True
        found = np.asarray(self.fields[key], np.float64)
        with np.errstate(invalid="ignore"):
            return bool(np.allclose(found, value, rtol=EXACT, atol=1e-12))

    def get(self, key: str) -> Any:
        """Return a field, or NaN, which nothing is near to."""
        return np.asarray(self.fields.get(key, np.nan), np.float64)

    @property
    def narrow(self) -> bool:
        """Whether all numbers are in float32."""
        return all(np.asarray(value).dtype == np.float32 for value in self.fields.values())


@dataclass(frozen=True, eq=False)
class Profile:
    """A tool: its neurons by NIR type, and its own defaults of what its files lose.

    step_s: the length of a step, where the neurons give it away; batched: whether its Input has
    the batch axis in front; feedback_bias: None where that has to be stated; delay_step: the length
    of a step in the unit of its delays, where that is always the same.
    """

    name: str
    cells: Mapping[str, Recover]
    defaults: Mapping[str, Any]
    fits: Callable[[Sequence[Seen]], bool]
    step_s: Callable[[Sequence[Seen]], Iterator[float]] = lambda seen: iter(())
    feedback_bias: str | None = "late"
    batched: bool = False
    delay_step: float | None = None


def _snntorch(seen: Sequence[Seen]) -> bool:
    return all(
        item.type in ("LIF", "CubaLIF")
        and "v_reset" in item.fields
        and (item.narrow or item.looped)
        and item.near("v_leak", 0)
        and item.near("v_reset", 0)
        and item.near("r", item.get("tau" if item.type == "LIF" else "tau_mem") / 1e-4)
        and (item.type == "LIF" or item.near("w_in", item.get("tau_syn") / 1e-4))
        for item in seen
    )


def _norse(seen: Sequence[Seen]) -> bool:
    taus = [item.get(key) for item in seen for key in item.fields if key.startswith("tau")]
    whole = all(item.type == "LI" or "v_reset" in item.fields for item in seen)
    like = whole and _ones(seen, ("LIF", "CubaLIF", "LI", "IF"))
    return like and all(np.all(t < 0.1) for t in taus)


def _sinabs(seen: Sequence[Seen]) -> bool:
    plain = all(item.near("v_leak", 0) for item in seen)
    taus = [item.get("tau") for item in seen if item.type != "IF"]
    return plain and _ones(seen, ("LIF", "LI", "IF")) and all(np.all(t >= 0.1) for t in taus)


def _ones(seen: Sequence[Seen], types: Sequence[str]) -> bool:
    """Whether all are of these types, in float32, with r and w_in 1 and resets to 0."""
    return all(
        item.type in types
        and item.narrow
        and not item.looped
        and item.near("r", 1)
        and item.near("w_in", 1)
        and item.near("v_reset", 0)
        for item in seen
    )


def _spikingjelly(seen: Sequence[Seen]) -> bool:
    return len({float(f"{step:.5g}") for step in _jelly_steps(seen)}) < 2 and all(
        item.type in ("IF", "LIF", "CubaLIF")
        and not item.looped
        and "v_reset" in item.fields
        and all(
            value.dtype == np.float64 and np.all(value == value.flat[0])
            for value in map(np.asarray, item.fields.values())
        )
        and (item.type != "LIF" or item.near("v_leak", item.get("v_reset")))
        and (item.type != "CubaLIF" or item.near("v_leak", 0))
        for item in seen
    )


def _jelly_steps(seen: Sequence[Seen]) -> Iterator[float]:
    for item in seen:
        taus = {"LIF": "tau", "CubaLIF": "tau_mem"}
        if item.type == "IF" or not item.near("r", 1):
            ratio = item.get(taus.get(item.type, "one")) / item.get("r")
            ratio = 1 / item.get("r") if item.type == "IF" else ratio
            yield from {float(value) for value in ratio.flat if value > 0}


def _rockpool(seen: Sequence[Seen]) -> bool:
    steps = list(_rockpool_steps(seen))
    digits = [step / 10 ** np.floor(np.log10(step) + 1e-9) for step in steps]
    return (
        bool(steps)
        and all(
            item.type in ("LIF", "CubaLIF", "LI")
            and item.narrow
            and not item.looped
            and all(item.near(key, 0) for key in ("v_leak", "v_reset"))
            and item.near("w_in", 1)
            for item in seen
        )
        and all(any(abs(digit / one - 1) < 1e-4 for one in _ROUND) for digit in digits)
    )


def _rockpool_steps(seen: Sequence[Seen]) -> Iterator[float]:
    """Yield the dt for which r = tau exp(-dt / tau) / dt, by Newton's method on y exp(y) = 1/r."""
    for item in seen:
        tau = item.get("tau_mem" if item.type == "CubaLIF" else "tau")
        pairs = np.broadcast_arrays(tau, item.get("r"))
        for t, r in set(zip(*(each.ravel().tolist() for each in pairs), strict=True)):
            if r > 0 and t > 0:
                y = 1 / r
                for _ in range(50):
                    y -= (y * np.exp(y) - 1 / r) / (np.exp(y) * (1 + y))
                yield float(y * t)


def _paper(seen: Sequence[Seen]) -> bool:
    """Whether they are what snnTorch wrote before NIR had v_reset."""
    return all(
        item.type == "CubaLIF"
        and "v_reset" not in item.fields
        and item.near("v_leak", 0)
        and item.near("r", item.get("tau_mem") / 1e-4)
        and item.near("w_in", item.get("tau_syn") / 1e-4)
        for item in seen
    )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "snntorch",
            {"LIF": tools.snntorch_lif, "CubaLIF": tools.snntorch_cubalif},
            {"reset": "subtract", "reset_delay": True},
            _snntorch,
            feedback_bias="always",
            delay_step=1e-4,
        ),
        Profile(
            "norse",
            {
                "LIF": tools.norse_lif,
                "CubaLIF": tools.norse_cubalif,
                "LI": tools.norse_li,
                "IF": tools.norse_if,
            },
            {"dt": 1e-3, "reset": "zero"},
            _norse,
            batched=True,
        ),
        Profile(
            "sinabs",
            {"LIF": tools.sinabs_lif, "IF": tools.sinabs_if, "LI": tools.sinabs_li},
            {
                "norm_input": True,
                "spikes": "many",
                "reset": "subtract",
                "v_min": "none",
                "tau_syn": "none",
            },
            _sinabs,
            delay_step=1.0,
        ),
        Profile(
            "spikingjelly",
            {
                "LIF": tools.spikingjelly_lif,
                "IF": tools.spikingjelly_if,
                "CubaLIF": tools.spikingjelly_cubalif,
            },
            {"dt": 1e-4},
            _spikingjelly,
            _jelly_steps,
        ),
        Profile(
            "rockpool",
            {
                "LIF": tools.rockpool_lif,
                "CubaLIF": tools.rockpool_cubalif,
                "LI": tools.rockpool_li,
            },
            {"dt": 1e-3, "spikes": "many"},
            _rockpool,
            _rockpool_steps,
        ),
        Profile(
            "nir-paper",
            {
                "I": tools.paper_i,
                "IF": tools.paper_if,
                "LI": tools.paper_li,
                "LIF": tools.paper_lif,
                "CubaLI": tools.paper_cubali,
                "CubaLIF": tools.paper_cubalif,
            },
            {"dt": 1e-4, "reset": "zero", "reset_delay": False, "feedback_bias": "late"},
            _paper,
            feedback_bias=None,
        ),
    )
}


def candidates(seen: Sequence[Seen]) -> list[str]:
    """Return the tools that may have written these neurons."""
    with np.errstate(all="ignore"):
        return [name for name, profile in PROFILES.items() if _fitting(seen) and profile.fits(seen)]


def steps(profile: Profile, seen: Sequence[Seen]) -> list[float]:
    """Return the step lengths that the neurons give away, in seconds."""
    with np.errstate(all="ignore"):
        found = list(profile.step_s(seen)) if _fitting(seen) else []
    return [step for step in found if np.isfinite(step)]


def _fitting(seen: Sequence[Seen]) -> bool:
    """Whether the arrays of each node can be combined at all."""
    try:
        for item in seen:
            np.broadcast_shapes(*(np.shape(value) for value in item.fields.values()))
    except ValueError:
        return False
    return True

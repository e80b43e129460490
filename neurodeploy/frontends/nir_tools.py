r"""The exact discrete neurons behind what each tool writes, with k = 1 - decay.

snntorch      tau = dt / k, r = tau / dt, w_in = tau_syn / dt with dt = 1e-4 always; gain 1, `>`
norse         tau = dt / tau_inv, an extra factor dt: k = dt^2 / tau; v += k (v_leak + x - v), and
              with a synapse i += x before and i -= k_syn i behind it; `>`; starts at v_leak
sinabs        tau in steps: decay exp(-1 / tau), gain 1 - decay or 1; several spikes a step
spikingjelly  k = dt / tau, gain k (r = 1) or 1 (r = tau / dt), `>=`, hard; starts at v_reset
rockpool      decay exp(-dt / tau), r = tau exp(-dt / tau) / dt; i = decay (i + x); several spikes
nir-paper     Euler: k = dt / tau, gain k r; the membrane reads the current of the same step

Measured with snnTorch 1.0.0, norse 1.1.0, sinabs 3.1.3, SpikingJelly 2.0.0 and Rockpool 3.1.0
(`export_nir.py`, `nir.py`, `to_nir.py` of each).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.frontends.nir_cells import (
    EXACT,
    Cell,
    counting,
    current_based,
    leaky,
    spiking,
)
from neurodeploy.graph.ir import Array, Op

SNNTORCH_DT = 1e-4  # a constant of its exporter
_HARD = {"zero": "hard", "subtract": "soft", "none": "none"}


def _snntorch_decay(cell: Cell, key: str, factor: str) -> Array:
    cell.expect(factor, cell[key] / SNNTORCH_DT, f"snnTorch writes {key} / 1e-4")
    return np.clip(cell.single(1 - SNNTORCH_DT / cell[key], key), 0, 1)


def _snntorch_rest(cell: Cell) -> None:
    for key in ("v_leak", "v_reset"):
        cell.expect(key, 0, "snnTorch writes 0")


def _snntorch_reset(cell: Cell, *, zero_first: bool) -> str:
    """Return the reset; `zero_first`: delayed, to zero, it comes before the input of the step."""
    reset = cell.ask("reset")
    if reset == "none" or (reset == "zero" and zero_first):
        cell.told("reset_delay", None)
        return _HARD[reset]
    delay = cell.ask("reset_delay")
    if cell.looped and cell.type == "CubaLIF" and not delay:
        what = (
            "RSynaptic of snnTorch 1.0.0 has no reset without delay: it resets a step later, or"
            " fails; earlier versions had one"
        )
        fix = "--reset-delay yes for what 1.0.0 computes; --source nir-paper for earlier versions"
        raise cell.refuse("E108", what, fix)
    if reset == "subtract":
        return "soft_after_decay" if delay else "soft_doubled"
    return "hard_next" if delay else "hard"


def snntorch_lif(cell: Cell) -> list[Op]:
    """Read Leaky, or, in a loop, RLeaky."""
    _snntorch_rest(cell)
    beta = _snntorch_decay(cell, "tau", "r")
    reset = _snntorch_reset(cell, zero_first=not cell.looped)
    return spiking(cell, beta, 1.0, reset=reset, compare=cell.told("compare", ">"))


def snntorch_cubalif(cell: Cell) -> list[Op]:
    """Read Synaptic, or, in a loop, RSynaptic."""
    _snntorch_rest(cell)
    alpha, beta = _snntorch_decay(cell, "tau_syn", "w_in"), _snntorch_decay(cell, "tau_mem", "r")
    reset = _snntorch_reset(cell, zero_first=False)
    return current_based(cell, alpha, beta, 1.0, reset=reset, compare=cell.told("compare", ">"))


def _norse_k(cell: Cell, key: str) -> Array:
    return cell.single(cell.dt() ** 2 / cell[key], key)


def _norse_plain(cell: Cell, *ones: str) -> None:
    for key in ones:
        cell.expect(key, 1, "norse writes 1")
    if cell.type != "LI":
        if "v_reset" not in cell.fields:
            what = "no v_reset: a norse before NIR had it, which wrote tau without a factor dt"
            raise cell.refuse("E108", what, "--source nir-paper reads Euler steps")
        cell.expect("v_reset", 0, "norse writes 0")


def norse_lif(cell: Cell) -> list[Op]:
    """Read LIFBoxCell."""
    _norse_plain(cell, "r")
    k, reset, leak = _norse_k(cell, "tau"), cell.ask("reset"), cell["v_leak"]
    if reset == "none" or (reset == "subtract" and np.any(leak)):
        what = "norse has no reset none, and subtracts from a membrane that starts at v_leak"
        raise cell.refuse("E108", what, "--reset zero, or subtract with v_leak 0")
    compare = cell.told("compare", ">")
    return spiking(cell, 1 - k, k, reset=_HARD[reset], compare=compare, bias=k * leak, start=leak)


def norse_cubalif(cell: Cell) -> list[Op]:
    """Read LIFCell, which resets to 0 always."""
    _norse_plain(cell, "r", "w_in")
    k, k_syn, leak = _norse_k(cell, "tau_mem"), _norse_k(cell, "tau_syn"), cell["v_leak"]
    how = {"reset": "hard", "compare": cell.told("compare", ">")}
    return current_based(cell, 1 - k_syn, 1 - k, k, bias=k * leak, start=leak, **how)


def norse_li(cell: Cell) -> list[Op]:
    """Read LIBoxCell."""
    _norse_plain(cell, "r")
    k, leak = _norse_k(cell, "tau"), cell["v_leak"]
    return leaky(cell, 1 - k, k, bias=k * leak, start=leak)


def norse_if(cell: Cell) -> list[Op]:
    """Read IAFCell."""
    _norse_plain(cell, "r")
    return spiking(cell, _ones(cell), 1.0, reset="hard", compare=cell.told("compare", ">"))


def _ones(cell: Cell) -> Array:
    return np.ones(cell.width)


def _sinabs_plain(cell: Cell, *zeros: str) -> None:
    cell.expect("r", 1, "sinabs writes 1")
    for key in zeros:
        cell.expect(key, 0, "sinabs writes 0")


def _sinabs_decay(cell: Cell) -> tuple[Array, Array]:
    """Return the decay, and the gain of the input."""
    decay = cell.single(np.exp(-1 / cell["tau"]), "tau")
    return decay, 1 - decay if cell.ask("norm_input") else _ones(cell)


def _sinabs_counting(cell: Cell, beta: Array, gain: Array) -> list[Op]:
    reset = cell.ask("reset")
    if reset == "none":
        raise cell.refuse("E108", "sinabs has no reset none", "--reset subtract or zero")
    how = {"spikes": cell.ask("spikes"), "reset": _HARD[reset], "v_min": cell.ask("v_min")}
    return counting(cell, beta, gain, **how)


def sinabs_lif(cell: Cell) -> list[Op]:
    """Read LIF, whose synapse, if it has one, is not in the file."""
    _sinabs_plain(cell, "v_leak", "v_reset")
    beta, gain = _sinabs_decay(cell)
    tau_syn = cell.ask("tau_syn")
    if tau_syn == "none":
        return _sinabs_counting(cell, beta, gain)
    alpha = np.float64(np.exp(np.float32(-1 / tau_syn)))  # as torch computes it
    synapse = leaky(cell, alpha * _ones(cell), alpha)
    return [*synapse, *_sinabs_counting(cell, beta, gain)]


def sinabs_if(cell: Cell) -> list[Op]:
    """Read IAF."""
    _sinabs_plain(cell, "v_reset")
    return _sinabs_counting(cell, _ones(cell), _ones(cell))


def sinabs_li(cell: Cell) -> list[Op]:
    """Read ExpLeak."""
    _sinabs_plain(cell, "v_leak")
    decay, gain = _sinabs_decay(cell)
    for key in ("v_min", "tau_syn"):
        if cell.ask(key) != "none":
            what = f"an integrator without spikes has no {key} here"
            raise cell.refuse("E108", what, f"--{key.replace('_', '-')} none for {cell.name}")
    return leaky(cell, decay, gain)


def spikingjelly_lif(cell: Cell) -> list[Op]:
    """Read LIFNode and ParametricLIFNode."""
    steps = cell["tau"] / cell.dt()
    cell.expect("v_leak", cell["v_reset"], "SpikingJelly writes v_reset")
    scaled = np.isclose(cell["r"], 1, rtol=EXACT)
    if not np.all(scaled | np.isclose(cell["r"], steps, rtol=EXACT)):
        cell.expect("r", steps, "SpikingJelly writes 1 or tau / dt")
    gain = np.where(scaled, 1 / steps, 1.0)
    return _jelly(cell, 1 - 1 / steps, gain, bias=cell["v_reset"] / steps)


def spikingjelly_if(cell: Cell) -> list[Op]:
    """Read IFNode."""
    cell.expect("r", 1 / cell.dt(), "SpikingJelly writes 1 / dt")
    return _jelly(cell, _ones(cell), 1.0)


def spikingjelly_cubalif(cell: Cell) -> list[Op]:
    """Read CUBALIFNode."""
    dt = cell.dt()
    cell.expect("r", cell["tau_mem"] / dt, "SpikingJelly writes tau_mem / dt")
    cell.expect("w_in", cell["tau_syn"] / dt, "SpikingJelly writes tau_syn / dt")
    cell.expect("v_leak", 0, "SpikingJelly writes 0")
    how = {"reset": "hard", "compare": cell.told("compare", ">="), "start": cell["v_reset"]}
    return current_based(cell, 1 - dt / cell["tau_syn"], 1 - dt / cell["tau_mem"], 1.0, **how)


def _jelly(cell: Cell, beta: Array, gain: Any, bias: Any = 0.0) -> list[Op]:
    compare, start = cell.told("compare", ">="), cell["v_reset"]
    return spiking(cell, beta, gain, reset="hard", compare=compare, bias=bias, start=start)


def _rockpool_decay(cell: Cell, key: str) -> Array:
    decay = np.exp(-cell.dt() / cell[key])
    if key != "tau_syn":
        cell.expect("r", cell[key] * decay / cell.dt(), "Rockpool writes tau exp(-dt / tau) / dt")
    return cell.single(decay, key)


def _rockpool_counting(cell: Cell, key: str) -> list[Op]:
    for zero in ("v_leak", "v_reset"):
        cell.expect(zero, 0, "Rockpool writes 0")
    decay = _rockpool_decay(cell, key)
    how = {"spikes": cell.ask("spikes"), "reset": "soft", "v_min": "none"}
    return counting(cell, decay, 1.0, **how)


def rockpool_lif(cell: Cell) -> list[Op]:
    """Read LIFNeuronTorch."""
    return _rockpool_counting(cell, "tau")


def rockpool_cubalif(cell: Cell) -> list[Op]:
    """Read LIFTorch, whose bias, if it has one, is not in the file."""
    cell.expect("w_in", 1, "Rockpool writes 1")
    alpha = _rockpool_decay(cell, "tau_syn")
    return [*leaky(cell, alpha, alpha), *_rockpool_counting(cell, "tau_mem")]


def rockpool_li(cell: Cell) -> list[Op]:
    """Read ExpSynTorch."""
    cell.expect("v_leak", 0, "Rockpool writes 0")
    decay = _rockpool_decay(cell, "tau")
    return leaky(cell, decay, decay)


def _euler(cell: Cell, key: str, factor: str) -> tuple[Array, Array]:
    """Return 1 - k and k times `factor`, which is 1 where a tool had it so."""
    k = cell.dt() / cell[key]
    gain = k * cell[factor]
    return cell.single(1 - k, key), np.where(np.isclose(gain, 1, rtol=EXACT), 1.0, gain)


def _paper_reset(cell: Cell) -> str:
    """Return the reset; delayed ones are snnTorch's, integrating first."""
    reset = cell.ask("reset")
    if reset == "none":
        cell.told("reset_delay", None)
        return "none"
    if cell.ask("reset_delay"):
        return "soft_after_decay" if reset == "subtract" else "hard_next"
    return _HARD[reset]


def paper_lif(cell: Cell) -> list[Op]:
    """Read LIF."""
    beta, gain = _euler(cell, "tau", "r")
    bias = (1 - beta) * cell["v_leak"]
    how = {"reset": _paper_reset(cell), "compare": cell.told("compare", ">")}
    return spiking(cell, beta, gain, bias=bias, **how)


def paper_cubalif(cell: Cell) -> list[Op]:
    """Read CubaLIF."""
    alpha, w = _euler(cell, "tau_syn", "w_in")
    beta, gain = _euler(cell, "tau_mem", "r")
    bias = (1 - beta) * cell["v_leak"]
    how = {"reset": _paper_reset(cell), "compare": cell.told("compare", ">")}
    return current_based(cell, alpha, beta, w * gain, bias=bias, **how)


def paper_if(cell: Cell) -> list[Op]:
    """Read IF, whose r is 1 or 1 / dt."""
    how = {"reset": _paper_reset(cell), "compare": cell.told("compare", ">")}
    return spiking(cell, _ones(cell), _integrated(cell), **how)


def paper_i(cell: Cell) -> list[Op]:
    """Read I, whose r is 1 or 1 / dt."""
    return leaky(cell, _ones(cell), _integrated(cell))


def paper_li(cell: Cell) -> list[Op]:
    """Read LI."""
    beta, gain = _euler(cell, "tau", "r")
    return leaky(cell, beta, gain, bias=(1 - beta) * cell["v_leak"])


def paper_cubali(cell: Cell) -> list[Op]:
    """Read CubaLI: two integrators."""
    alpha, w = _euler(cell, "tau_syn", "w_in")
    beta, gain = _euler(cell, "tau_mem", "r")
    bias = (1 - beta) * cell["v_leak"]
    return [*leaky(cell, alpha, w), *leaky(cell, beta, gain, bias=bias)]


def _integrated(cell: Cell) -> Array:
    """Return the gain of an integrator: r per step, or r dt."""
    if np.allclose(cell["r"], 1, rtol=EXACT):
        return _ones(cell)
    cell.expect("r", 1 / cell.dt(), "integrators have 1 or 1 / dt")
    return _ones(cell)

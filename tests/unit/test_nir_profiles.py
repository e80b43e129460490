"""Files in the layout of each tool, against loops written after that tool's own equations."""

from __future__ import annotations

import h5py
import nir
import numpy as np
import pytest
from support.nirs import F4, WIDTHS, full, network, run

import neurodeploy as nd
from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import nir_child, nir_walk
from neurodeploy.frontends.nir_profiles import PROFILES
from neurodeploy.frontends.nir_stated import STATEMENTS, option
from neurodeploy.graph.ir import identical

DT = 1e-4
STEPS, SAMPLES = 40, 3


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: a child for every file would take minutes."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "g.nir"


def signal(seed=0, width=WIDTHS[0]):
    return np.random.default_rng(seed).normal(size=(STEPS, SAMPLES, width)) + 0.3


def compared(path, made, step, least=5, **stated):
    """Check that a file of two layers does what `step` does; return its graph."""
    graph = nd.load(path, **stated)
    x = signal()
    expected = run(made, [step] * len(made), x)
    assert least <= np.count_nonzero(expected)
    np.testing.assert_array_equal(nd.interpret(graph, x), expected)
    return graph


# snnTorch ---------------------------------------------------------------------------------------


ALPHA, BETA = F4(0.8), F4(0.9)


def snn_lif(i, beta=BETA):
    tau = full(DT, i) / (1 - full(beta, i))
    zero, one = full(0, i), full(1, i)
    return nir.LIF(tau=tau, r=tau / F4(DT), v_leak=zero, v_threshold=one, v_reset=zero)


def snn_cuba(i, beta=BETA, alpha=ALPHA):
    tau, tau_syn = full(DT, i) / (1 - full(beta, i)), full(DT, i) / (1 - full(alpha, i))
    zero, one = full(0, i), full(1, i)
    how = {"tau_mem": tau, "tau_syn": tau_syn, "r": tau / F4(DT), "w_in": tau_syn / F4(DT)}
    return nir.CubaLIF(**how, v_leak=zero, v_threshold=one, v_reset=zero)


def snn_step(reset, delay, *, cuba):
    """`forward` of snntorch.Leaky and Synaptic 1.0.0, beta 0.9, alpha 0.8, threshold 1."""
    alpha, beta = float(F4(0.8)), float(F4(0.9))

    def step(state, x):
        syn, mem = state
        fired = (mem > 1).astype(float)
        if reset == "zero" and not cuba:
            mem = (1 - fired) * mem
        syn = alpha * syn + x if cuba else x
        mem = beta * mem + syn
        if reset == "zero" and cuba:
            mem = mem - fired * mem
        if reset == "subtract":
            mem = mem - fired
        spk = (mem > 1).astype(float)
        if not delay and reset != "none":
            mem = mem - (spk - fired) * (1 if reset == "subtract" else mem)
        return spk, (syn, mem)

    return step


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("cell", [snn_lif, snn_cuba])
def test_snntorch(cell, reset, delay, path):
    made = network(path, [cell(0), cell(1)])
    step = snn_step(reset, delay, cuba=cell is snn_cuba)
    graph = compared(path, made, step, reset=reset, reset_delay=delay)
    assert np.all(graph["1"].op.params["beta"] == float(F4(0.9)))  # what was trained, exactly


def test_each_node_may_be_stated_by_itself(path):
    made = network(path, [snn_lif(0), snn_lif(1)])
    x = signal()
    steps = [snn_step("zero", False, cuba=False), snn_step("subtract", True, cuba=False)]
    graph = nd.load(path, reset={"*": "subtract", "1": "zero"}, reset_delay="*=yes,1=no")
    np.testing.assert_array_equal(nd.interpret(graph, x), run(made, steps, x))


def test_a_decay_of_one_or_more_is_one_as_snntorch_clamps_it(path):
    cell = snn_lif(0)
    with np.errstate(divide="ignore"):
        cell.tau, cell.r = full(DT, 0) / full(0, 0), full(1, 0) / full(0, 0)
    network(path, [cell])
    graph = nd.load(path, source="snntorch", reset="none")
    assert np.all(graph["1"].op.params["beta"] == 1)


# norse ------------------------------------------------------------------------------------------


def norse_file(path, kind, leak=0.0, shape=(1, WIDTHS[0])):
    dt, mem, syn = F4(1e-3), F4(100), F4(200)

    def cell(i):
        how = {"v_leak": full(leak, i), "r": full(1, i), "v_threshold": full(0.4, i)}
        how["v_reset"] = full(0, i)
        if kind == "lif":
            return nir.LIF(tau=full(dt / mem, i), **how)
        return nir.CubaLIF(tau_mem=full(dt / mem, i), tau_syn=full(dt / syn, i), **how)

    return network(path, [cell(0), cell(1)], size=9.0, shape=shape)


def norse_step(kind, leak=0.0, reset="zero"):
    """`lif_box_feed_forward_step` and `lif_feed_forward_step` of norse 1.1.0."""
    k, k_syn, th = float(F4(0.1)), float(F4(0.2)), float(F4(0.4))
    leak = float(F4(leak))

    def step(state, x):
        i, v = (state[0], state[1] + leak) if isinstance(state, np.ndarray) else state
        i = i + x if kind == "cuba" else x
        v = v + k * (leak - v + i)
        i = i - k_syn * i
        z = (v > th).astype(float)
        v = (1 - z) * v if reset == "zero" else v - z * th
        return z, (i, v)

    return step


@pytest.mark.parametrize(("kind", "leak"), [("lif", 0), ("lif", 0.2), ("cuba", 0), ("cuba", 0.2)])
def test_norse(kind, leak, path):
    made = norse_file(path, kind, leak)
    stated = {"dt": 1e-3} | ({"reset": "zero"} if kind == "lif" else {})
    compared(path, made, norse_step(kind, leak), **stated)


def test_norse_subtracting(path):
    made = norse_file(path, "lif")
    compared(path, made, norse_step("lif", reset="subtract"), dt=1e-3, reset="subtract")


def test_files_of_an_older_norse_are_told_apart(path):
    norse_file(path, "lif")
    with h5py.File(path, "a") as file:
        for i in (1, 3):
            del file[f"node/nodes/{i}/v_reset"]
    with pytest.raises(NeurodeployError, match="no v_reset"):
        nd.load(path, source="norse", defaults=True)


def test_norse_integrators_start_at_their_leak(path):
    k, leak = float(F4(0.1)), float(F4(0.3))
    cell = nir.LI(tau=full(1e-5, 0), r=full(1, 0), v_leak=full(leak, 0))
    (made,) = network(path, [cell])
    v, x = np.full((SAMPLES, WIDTHS[1]), leak), signal()
    expected = [v := v + k * (leak - v + row @ made[0].T + made[1]) for row in x]
    found = nd.interpret(nd.load(path, source="norse", dt=1e-3), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# sinabs -----------------------------------------------------------------------------------------


def sinabs_step(tau=10.0, *, norm=True, spikes="many", reset="subtract", v_min=None, tau_syn=None):
    """`lif_forward_single` of sinabs 3.1.3, threshold 1."""
    alpha = float(np.exp(F4(-1 / tau))) if tau else 1.0

    def step(state, x):
        i, v = state
        if tau_syn:
            decay = float(np.exp(F4(-1 / tau_syn)))
            i = decay * (i + x)
        else:
            i = x
        v = alpha * v + ((1 - alpha) * i if norm else i)
        n = (v > 0) * np.trunc(v / 1.0) if spikes == "many" else (v - 1 >= 0).astype(float)
        v = v - n if reset == "subtract" else v * (n == 0)
        return n, (i, v if v_min is None else np.maximum(v, v_min))

    return step


def sinabs_file(path, kind="lif", tau=10.0):
    def cell(i):
        one, zero = full(1, i), full(0, i)
        if kind == "if":
            return nir.IF(r=one, v_threshold=one, v_reset=zero)
        return nir.LIF(tau=full(tau, i), r=one, v_leak=zero, v_threshold=one, v_reset=zero)

    return network(path, [cell(0), cell(1)], size=9.0)


SINABS = [
    {},
    {"norm": False},
    {"spikes": "one"},
    {"reset": "zero"},
    {"v_min": -0.5},
    {"tau_syn": 5.0, "norm": False, "spikes": "one", "reset": "zero", "v_min": -1.0},
]


@pytest.mark.parametrize("how", SINABS)
def test_sinabs_lif(how, path):
    made = sinabs_file(path)
    names = {"norm": "norm_input"}
    stated = {names.get(key, key): value for key, value in how.items()}
    compared(path, made, sinabs_step(**how), defaults=True, **stated)


def test_sinabs_iaf(path):
    made = sinabs_file(path, "if")
    step = sinabs_step(tau=0, norm=False, v_min=-1.0)
    compared(path, made, step, source="sinabs", reset="subtract", spikes="many", v_min=-1)


# SpikingJelly -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [1e-4, 1e-3])
@pytest.mark.parametrize("v_reset", [0.0, -0.25])
@pytest.mark.parametrize("kind", ["lif", "lif_gain_1", "if", "cuba"])
def test_spikingjelly(kind, v_reset, dt, path):
    """`lif_step`, `if_step` and `cuba_lif_step` of SpikingJelly 2.0.0; v starts at v_reset."""
    tau, c, d = 4.0, 0.5, 0.75

    def cell(i):
        v = {"v_threshold": full(0.5, i, float), "v_reset": full(v_reset, i, float)}
        if kind == "if":
            return nir.IF(r=full(1 / dt, i, float), **v)
        if kind == "cuba":
            syn, mem = dt / (1 - c), dt / (1 - d)
            return nir.CubaLIF(
                tau_syn=full(syn, i, float),
                tau_mem=full(mem, i, float),
                r=full(mem / dt, i, float),
                w_in=full(syn / dt, i, float),
                v_leak=full(0, i, float),
                **v,
            )
        r = 1.0 if kind == "lif" else tau
        v["v_leak"] = v["v_reset"]
        return nir.LIF(tau=full(tau * dt, i, float), r=full(r, i, float), **v)

    def step(state, x):
        i, v = (state[0], state[1] + v_reset) if isinstance(state, np.ndarray) else state
        if kind == "lif":
            v = v + (v_reset - v + x) / tau
        elif kind == "lif_gain_1":
            v = v + (v_reset - v) / tau + x
        elif kind == "if":
            v = v + x
        else:
            i = i * c + x
            v = v * d + i
        z = (v >= 0.5).astype(float)
        return z, (i, np.where(z > 0, v_reset, v))

    made = network(path, [cell(0), cell(1)], size=2.0)
    compared(path, made, step, **({"dt": dt} if kind == "lif" else {}))


def test_spikingjelly_fires_at_the_threshold(path):
    cell = nir.IF(*(full(v, 0, float) for v in (1e4, 0.5, 0)))
    network(path, [cell])
    with h5py.File(path, "a") as file:
        file["node/nodes/0/weight"][...] = 0
        file["node/nodes/0/bias"][...] = 0.5
    x = np.zeros((1, 1, WIDTHS[0]))
    assert nd.interpret(nd.load(path), x).all()
    assert not nd.interpret(nd.load(path, compare=">"), x).any()


# Rockpool ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lif", "cuba"])
def test_rockpool(kind, path):
    """`LIFNeuronTorch.forward` and `LIFTorch.forward` of Rockpool 3.1.0, dt 1 ms."""
    dt, tau, tau_syn = 1e-3, F4(0.02), F4(0.01)
    alpha, beta = (float(F4(np.exp(-dt / t))) for t in (tau, tau_syn))

    def cell(i):
        r = full(tau * F4(np.exp(-dt / tau)) / F4(dt), i)
        zero, one = full(0, i), full(1, i)
        if kind == "lif":
            return nir.LIF(tau=full(tau, i), r=r, v_leak=zero, v_threshold=one)
        how = {"tau_mem": full(tau, i), "tau_syn": full(tau_syn, i), "r": r}
        return nir.CubaLIF(**how, v_leak=zero, v_threshold=one)

    def step(state, x):
        i, v = state
        i = beta * (i + x) if kind == "cuba" else x
        v = alpha * v + i
        n = (v >= 1) * np.floor(v)
        return n, (i, v - n)

    made = network(path, [cell(0), cell(1)])
    compared(path, made, step, spikes="many")


# NIR's own equations ----------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("kind", ["lif", "cuba", "if 1", "if 1/dt"])
def test_nir_paper(kind, reset, path):
    """Euler steps of NIR's equations, the membrane behind the current of the same step."""
    tau, tau_syn, leak, w = 5e-4, 2e-4, 0.1, 1.5

    def cell(i):
        r, th = full(2, i, float), full(0.5, i, float)
        if kind.startswith("if"):
            return nir.IF(full(1 if kind == "if 1" else 1 / DT, i, float), th)
        v = {"r": r, "v_threshold": th, "v_leak": full(leak, i, float)}
        if kind == "lif":
            return nir.LIF(tau=full(tau, i, float), **v)
        how = {"tau_mem": full(tau, i, float), "tau_syn": full(tau_syn, i, float)}
        return nir.CubaLIF(**how, w_in=full(w, i, float), **v)

    def step(state, x):
        i, v = state
        if kind.startswith("if"):
            v = v + x
        else:
            i = i + DT / tau_syn * (w * x - i) if kind == "cuba" else x
            v = v + DT / tau * (leak - v + 2 * i)
        z = (v > 0.5).astype(float)
        return z, (i, v - z * 0.5 if reset == "subtract" else v * (1 - z))

    made = network(path, [cell(0), cell(1)])
    stated = {"dt": DT} if kind != "if 1" else {}
    compared(path, made, step, source="nir-paper", reset=reset, reset_delay=False, **stated)


def test_integrators_of_nir(path):
    one, x = full(1, 0, float), signal()
    tau = {"tau_syn": 2e-4 * one, "tau_mem": 5e-4 * one}
    (made,) = network(path, [nir.CubaLI(**tau, r=3 * one, v_leak=0.2 * one, w_in=1.5 * one)])
    i = v = 0.0
    expected = []
    for row in x:
        i = i + 0.5 * (1.5 * (row @ made[0].T + made[1]) - i)
        v = v + 0.2 * (0.2 - v + 3 * i)
        expected.append(v)
    found = nd.interpret(nd.load(path, source="nir-paper", dt=DT), x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    (made,) = network(path, [nir.I(1e4 * one)])
    found = nd.interpret(nd.load(path, source="nir-paper", dt=DT), x)
    np.testing.assert_allclose(found, np.cumsum(x @ made[0].T + made[1], axis=0), rtol=1e-12)


# What is stated ---------------------------------------------------------------------------------


def refused(path, **stated):
    with pytest.raises(NeurodeployError) as caught:
        nd.load(path, **stated)
    assert caught.value.exit_code == 3
    return caught.value


def test_all_that_is_missing_is_listed_with_its_option_and_the_tools_default(path):
    sinabs_file(path)
    error = refused(path)
    assert error.code == "E108"
    for key, default in PROFILES["sinabs"].defaults.items():
        assert f"{key} ({STATEMENTS[key].about}) of '1', '3'" in error.what
        word = {True: "yes"}.get(default, default)
        assert f"{option(key)} {STATEMENTS[key].words} (default of sinabs: {word})" in error.fix
    assert nd.load(path, defaults=True)


def test_every_statement_is_of_use_somewhere():
    asked = {key for profile in PROFILES.values() for key in profile.defaults}
    assert asked | {"compare"} == set(STATEMENTS)


def test_the_command_line_states_the_same():
    from neurodeploy.cli.reading import SOURCES, STATED

    assert tuple(PROFILES) == SOURCES
    assert list(STATED) == list(STATEMENTS)
    for key, (words, about) in STATED.items():
        assert words == STATEMENTS[key].words.replace("'", "")
        assert STATEMENTS[key].about.startswith(about)


NONSENSE = {
    "a statement that nothing asks for": ({"norm_input": True}, "--norm-input has no meaning"),
    "a name that is not there": ({"reset": {"9": "zero"}}, "--reset of '9' has no meaning"),
    "a step length that is fixed": ({"dt": 1e-3}, "--dt has no meaning"),
    "another word": ({"reset": "hard"}, "--reset is 'hard', not subtract|zero|none"),
    "no number": ({"v_min": "low"}, "--v-min is 'low', not NUMBER|none"),
    "a negative step": ({"dt": -1}, "--dt is -1, not SECONDS"),
    "an unknown tool": ({"source": "brian"}, "no tool is called 'brian'"),
    "a layout": ({"layout": "TBC"}, "--layout is about .onnx files"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_statements_without_meaning_are_errors(name, path):
    stated, text = NONSENSE[name]
    network(path, [snn_lif(0), snn_lif(1)])
    error = refused(path, **{"reset": "zero", **stated})
    assert any(text in record["what"] for record in error.records()), error


def test_our_own_files_and_other_formats_leave_nothing_open(path, tmp_path):
    network(path, [snn_lif(0)])
    graph = nd.load(path, reset="zero")
    nd.export(graph, tmp_path / "own.nir")
    assert nd.load(tmp_path / "own.nir")
    assert "--reset has no meaning" in refused(tmp_path / "own.nir", reset="zero").what
    nd.export(graph, tmp_path / "own.onnx")
    assert "--reset is about .nir files" in refused(tmp_path / "own.onnx", reset="zero").what


@pytest.mark.parametrize("field", ["tau", "r", "v_leak", "v_threshold", "v_reset", "shape"])
@pytest.mark.parametrize("source", PROFILES)
def test_no_field_of_a_neuron_is_ignored(source, field, path):
    network(path, [snn_lif(0)])
    with h5py.File(path, "a") as file:
        for key, value in {"tau": 1e-3, "r": 10, "v_reset": 0.0, "v_leak": 0.0}.items():
            one = {"norse": 1, "sinabs": 1, "rockpool": np.exp(-1)}.get(source, 10)
            file[f"node/nodes/1/{key}"][...] = one if key == "r" else value
    usual = nd.load(path, source=source, defaults=True)
    place = f"node/nodes/1/{field}" if field != "shape" else "node/nodes/input/shape"
    with h5py.File(path, "a") as file:
        file[place][...] = file[place][()] * 1.5 + (0.25 if field != "shape" else 1)
    try:
        other = nd.load(path, source=source, defaults=True)
    except NeurodeployError as error:
        other = error
    assert getattr(other, "exit_code", 3) == 3
    assert isinstance(other, NeurodeployError) or not identical(other, usual)


@pytest.mark.parametrize("value", [np.zeros((2, 3)), np.zeros(0), 0.0, np.inf, -1.0])
@pytest.mark.parametrize("field", ["tau", "r", "v_threshold"])
@pytest.mark.parametrize("source", [None, *PROFILES])
def test_numbers_that_make_no_sense_are_read_whole_or_refused(source, field, value, path):
    network(path, [snn_lif(0)])
    with h5py.File(path, "a") as file:
        del file[f"node/nodes/1/{field}"]
        file[f"node/nodes/1/{field}"] = value
    try:
        found = nd.interpret(nd.load(path, source=source, defaults=True), signal())
    except NeurodeployError as error:
        found = np.zeros(error.exit_code)
    assert np.all(np.isfinite(found))
    assert found.size

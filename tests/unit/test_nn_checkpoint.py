"""Checkpoints: what goes in comes out, and whatever else is in a file is refused by name."""

import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from neurodeploy.errors import InputError
from neurodeploy.nn import (
    ALIF,
    CELIF,
    LI,
    LIF,
    LSTM,
    PRF,
    S4D,
    SDN,
    SDTCM,
    TCLIF,
    BatchNorm,
    BinaryS4D,
    CELIFNet,
    Conv,
    CubaLIF,
    Delay,
    Embedding,
    GSUNetwork,
    MultiSpikeLIF,
    ParallelLIF,
    Pool,
    Readout,
    Scale,
    SDTCMBlock,
    SpatialNeuron,
    SpikingMLP,
    SpikingSSM,
    SurrogateLIF,
    Threshold,
    TwoCompartment,
    load,
    save,
)
from neurodeploy.nn.checkpoint import load_with_example
from neurodeploy.nn.description import CLASSES
from neurodeploy.nn.ternary import GSU, Ternary

Linear, Sequential = torch.nn.Linear, torch.nn.Sequential


def mixed():
    """One of everything that a file may hold, in nested containers."""
    torch.manual_seed(0)
    return Sequential(
        Scale(3, 0.5),
        Linear(3, 4, bias=False),
        Sequential(
            BatchNorm(4, momentum=None), LIF(4, reset="hard", v_reset=-0.2, train_beta=True)
        ),
        torch.nn.Dropout(0.25),
        Sequential(SDTCMBlock(4, bidirectional=True, dropout=0.1), PRF(4, amplitude=True)),
        Sequential(SpatialNeuron(4, surrogate="boxcar"), torch.nn.Identity(), Sequential()),
        Sequential(torch.nn.LayerNorm(4), torch.nn.GELU(), torch.nn.ReLU(), torch.nn.GLU()),
        Sequential(GSU(4, threshold="constant"), Ternary(ratio=0.2)),
        ALIF(4, reset="soft_raised", gain=None, train_rho=True),
        TCLIF(4, coupling="unreset", beta=(-0.3, 0.4)),
        Sequential(CubaLIF(4, reset="hard_next", train_alpha=True), MultiSpikeLIF(4, v_min=-1.0)),
        TwoCompartment(4, alpha=(0.5, 0.6), train_alpha=True, train_beta=False),
        Sequential(LIF(4, train_v_th=True), PRF(4, train_tau=True), ALIF(4, jump=0.2)),
        Sequential(ParallelLIF(4, method="decoupled", beta=0.7), Embedding(5, 4)),
        SDTCM(1, 2, 1, 3, tokens=6, train_tau=True),
        Sequential(LSTM(4, 4), Delay(4, [0, 2, 1, 3])),
        GSUNetwork(4, 4, 1, 4, state=2, norm="layer", readout="steps"),
        LI(4, train_beta=True, reverse=True),
        S4D(4, state=6, init="inv", discretization="bilinear", train_b=True, train_dt=False),
        Readout("last"),
        SDTCM(4, 2, 1, 3, readout="steps"),
        SpikingMLP((2, 4, 3, 2), recurrent=True),
        Sequential(Conv((2, 4, 1), 6, (2, 1), groups=2, padding=(0, 0, 1, 0), bias=False)),
        Sequential(Pool((6, 4), 2, "max", 1, 1), BatchNorm(6, positions=5)),
        Sequential(CELIF(3, encoding={"width": 4, "steps": 9}), CELIFNet(3, [4, 2], 2, 9)),
        Sequential(Threshold(3, 0.5), SurrogateLIF(3, reset="soft"), SDN(0.25)),
        SpikingSSM(3, 4, 2, 3, state=4, bidirectional=True, dropout=0.1, readout="steps"),
        BinaryS4D(3, 4, 1, 2, state=4, norm_kind="layer", residual=False, readout="steps"),
    )


def trained(model):
    """Return the model with weights and statistics that no constructor makes."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(torch.rand_like(value), alpha=0.1 if "var" in name else -0.1)
    return model


MODELS = {
    "mixed": mixed,
    "sdtcm": lambda: SDTCM(2, 5, 2, 3, norm="post", outer_residual=True, theta=(0.0, 9.0)),
    "double": lambda: SDTCM(1, 3, 1, 2).double(),
    "one layer": lambda: PRF(3, dt=(0.5, 0.6)),
    "named": lambda: Sequential(OrderedDict(first=Linear(2, 3), neurons=LIF(3))),
}
WIDTHS = {"sdtcm": 2, "double": 1, "one layer": 3, "named": 2}


@pytest.mark.parametrize("name", MODELS)
def test_what_goes_in_comes_out(name, tmp_path):
    model, path = trained(MODELS[name]()), tmp_path / "model.pt"
    save(model, path)
    again = load(path)
    assert repr(again) == repr(model)
    assert not any(module.training for module in again.modules())
    want, got = model.state_dict(), again.state_dict()
    assert list(got) == list(want)
    for key, value in want.items():
        assert got[key].dtype == value.dtype
        assert torch.equal(got[key], value)
    assert all(parameter.requires_grad for parameter in again.parameters())
    if name in WIDTHS:
        x = torch.randn(20, 4, WIDTHS[name], dtype=next(model.parameters()).dtype)
        assert torch.equal(again(x), model.eval()(x))


def test_sizes_and_settings_may_be_numbers_of_numpy(tmp_path):
    """What is saved is saved for good: such numbers are objects, which loading would refuse."""
    width = np.int64(3)
    layers = (Linear(np.int64(2), width), torch.nn.Dropout(np.float64(0.1)), LIF(width))
    block = SDTCM(np.int64(3), width, 1, 2, readout="steps", input_scale=np.float32(0.5))
    model = Sequential(*layers, block)
    save(model, tmp_path / "m.pt")
    x = torch.randn(7, 2, 2)
    assert torch.equal(load(tmp_path / "m.pt")(x), model.eval()(x))


def test_an_sdn_that_blocks_share_is_one_again_and_serves_untrained(tmp_path):
    model = trained(SpikingSSM(2, 3, 2, 2, state=2, sdn=SDN())).eval()
    save(model, tmp_path / "m.pt")
    state = torch.load(tmp_path / "m.pt", weights_only=True)["state"]
    assert sum(name.endswith("sdn.out.weight") for name in state) == 1
    again = load(tmp_path / "m.pt")
    assert again.blocks[0].sdn is again.blocks[1].sdn is not None
    assert not any(p.requires_grad for p in again.blocks[1].sdn.parameters())
    x = torch.randn(9, 4, 2)
    assert torch.equal(again(x), model(x))


def test_every_known_class_is_in_the_round_trip():
    kinds = {type(module) for module in mixed().modules()}
    assert set(CLASSES.values()) <= kinds


@pytest.mark.parametrize(
    "example", [None, torch.rand(5, 2, 1), torch.zeros(5, 2, 1, dtype=torch.uint8)]
)
def test_the_example_comes_back(example, tmp_path):
    save(SDTCM(1, 3, 1, 2), tmp_path / "m.pt", example=example)
    _, again = load_with_example(tmp_path / "m.pt")
    assert again is None if example is None else torch.equal(again, example)
    assert example is None or again.dtype == example.dtype


def test_the_file_is_data_only_and_small(tmp_path):
    """Neither gradients, nor the storage a slice was cut from, nor anything that needs code."""
    model, big = SDTCM(1, 3, 1, 2), torch.rand(5, 100_000, 1)
    model(torch.rand(4, 3, 1)).sum().backward()
    save(model, tmp_path / "m.pt", example=big[:, :2])
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert set(content) == {"format", "version", "model", "state", "example"}
    assert not any(value.requires_grad for value in content["state"].values())
    assert (tmp_path / "m.pt").stat().st_size < 50_000


def test_saving_and_loading_leave_the_random_numbers_alone(tmp_path):
    model = mixed()
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    save(model, tmp_path / "m.pt")
    load(tmp_path / "m.pt")
    assert torch.equal(torch.rand(3), want)


def test_training_goes_on_after_loading(tmp_path):
    model = SDTCM(1, 4, 1, 2, dt=(0.1, 0.5), v_th=0.2)
    save(model, tmp_path / "m.pt")
    again = load(tmp_path / "m.pt").train()
    x = 5 * torch.rand(20, 4, 1)
    for one in (model, again):
        one(x).square().sum().backward()
    for (name, p), q in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.pt"
    save(SDTCM(1, 3, 1, 2), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left") as caught:
        save(SDTCM(1, 4, 1, 2), path)
    assert caught.value.code == "E110"
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.pt"]


def test_loading_takes_no_random_numbers_and_all_weights_are_those_of_the_file(tmp_path):
    models = [SDTCM(2, 6, 1, 3), SpikingSSM(2, 6, 1, 3), Embedding(9, 4)]
    for i, model in enumerate(models):
        save(model.eval(), tmp_path / f"{i}.pt")
        state = torch.get_rng_state()
        again = load(tmp_path / f"{i}.pt")
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name
        assert all(not value.is_meta for value in again.buffers())


def test_a_folder_that_is_not_there_is_made(tmp_path):
    save(PRF(3), tmp_path / "new" / "m.pt")
    assert load(tmp_path / "new" / "m.pt").width == 3


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "no").write_text("a file")
    with pytest.raises(InputError, match=r"error\[E110\][\s\S]*no/m.pt[\s\S]*fix: "):
        save(PRF(3), tmp_path / "no" / "m.pt")
    assert os.listdir(tmp_path) == ["no"]


@pytest.mark.parametrize("example", [torch.zeros(3, 2), [[1.0]]])
def test_an_example_has_three_axes(example, tmp_path):
    with pytest.raises(InputError, match=r"\[T, B, C\]") as caught:
        save(PRF(3), tmp_path / "m.pt", example=example)
    assert caught.value.code == "E106"
    assert not list(tmp_path.iterdir())


class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(2, 2)
        self.fc = Linear(2, 2)


def replaced():
    model = SDTCM(1, 3, 2, 2)
    model.blocks[1].sn = LIF(3)
    return model


def moved():
    model = SDTCM(1, 3, 2, 2)
    model.blocks[1].tn.tau = 9.0
    return model


def emptied():
    model = SDTCM(1, 3, 1, 2)
    model.blocks[0].sn = torch.nn.Identity()
    return model


def shared():
    layer = Linear(2, 2)
    return Sequential(layer, LIF(2), layer)


def reparametrised():
    return Sequential(torch.nn.utils.parametrizations.weight_norm(Linear(2, 2)), LIF(2))


class MyLinear(Linear):
    pass


CANNOT_SAVE = [
    (
        lambda: Sequential(Odd(), torch.nn.Tanh()),
        [r"0 \([\w.]*Odd\)", r"0\.gru \(torch.*GRU\)", r"1 \(torch.*Tanh\)"],
    ),
    (lambda: Sequential(MyLinear(2, 2)), [r"0 \([\w.]*MyLinear\)"]),
    (torch.nn.Tanh, [r"the model \(torch.*Tanh\)"]),
    (replaced, [r"blocks\.1\.sn .*changed since"]),
    (moved, [r"blocks\.1\.tn .*changed since"]),
    (emptied, ["changed since"]),
    (shared, [r"2 \(torch.*Linear\), used more than once"]),
    (reparametrised, [r"0 \(torch.*Linear\)"]),
]


@pytest.mark.parametrize(("build", "says"), CANNOT_SAVE)
def test_every_module_that_cannot_be_saved_is_named(build, says, tmp_path):
    with pytest.raises(InputError) as caught:
        save(build(), tmp_path / "m.pt")
    assert caught.value.code == "E104"
    assert "torch.nn.Linear" in caught.value.fix
    for pattern in says:
        assert re.search(pattern, caught.value.what), caught.value.what
    assert not list(tmp_path.iterdir())


# Files that are refused


def content(**changes):
    file = io.BytesIO()
    model = SDTCM(1, 3, 1, 2)
    description = {"class": "SDTCM", "config": model.config()}
    base = {"format": "neurodeploy.model", "version": 1, "model": description}
    base |= {"state": model.state_dict(), "example": None}
    return {key: value for key, value in {**base, **changes}.items() if value != "drop"}, file


def packed(value, **how):
    file = io.BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


def with_(**changes):
    return packed(content(**changes)[0])


def with_state(change):
    state = dict(SDTCM(1, 3, 1, 2).state_dict())
    change(state)
    return with_(state=state)


def poisoned(state):
    state["encoder.weight"][0] = float("nan")
    state["norm.running_var"][1] = float("inf")


def misfit(state):
    del state["encoder.bias"]
    state["extra"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(4)
    state["norm.bias"] = torch.zeros(3, dtype=torch.int64)
    state["classifier.bias"] = "zero"


def odd_kinds(state):
    state["encoder.weight"] = state["encoder.weight"].to(torch.complex64)
    state["norm.weight"] = state["norm.weight"].to_sparse()
    state["norm.bias"] = state["norm.bias"].to(torch.float8_e4m3fn)


def both(state):
    misfit(state)
    poisoned(state)


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"m/{name}", data)
    return file.getvalue()


def flipped(data):
    """Return the file with one bit of a weight changed: torch would read it without a word."""
    spot = data.index(torch.tensor(1234.5).numpy().tobytes())
    return data[:spot] + bytes([data[spot] ^ 1]) + data[spot + 1 :]


def marked(state):
    state["encoder.weight"][0] = 1234.5


def nested(name):
    child = {"class": name, "config": {}}
    return {
        "class": "torch.nn.Sequential",
        "children": [["0", child], ["1", {**child, "class": "X2"}]],
    }


class Touch:
    """What a hostile pickle would be: loading it runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


OLD = {"_use_new_zipfile_serialization": False}
STATE = {"a.weight": torch.ones(400)}
WHOLE = packed(STATE)
REFUSED = {
    "empty": (b"", "E101", "truncated, damaged, or not"),
    "text": (b"weights, honestly", "E101", "truncated, damaged, or not"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1", "E101", "not a torch file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "E101", "not a torch file"),
    "half": (WHOLE[: len(WHOLE) // 2], "E101", "truncated"),
    "all but the end": (WHOLE[:-10], "E101", "truncated"),
    "half, old format": (packed(STATE, **OLD)[:300], "E101", "truncated"),
    "another zip": (zipped(readme="hello"), "E101", "not a torch file"),
    "a flipped bit": (flipped(with_state(marked)), "E101", "damaged"),
    "a tensor": (packed(torch.ones(2)), "E101", "not a saved model"),
    "a dict": (packed({"epoch": 3}), "E101", "not a saved model"),
    "a later version": (with_(version=2), "E101", "version 2[\\s\\S]*upgrade"),
    "no version": (with_(version="drop"), "E101", "version None"),
    "no state": (with_(state="drop"), "E101", "lacks state"),
    "no description": (with_(model=None), "E101", "description of the model is damaged"),
    "a bad description": (with_(model={"class": "PRF", "config": {"size": 3}}), "E101", "size"),
    "a module": (packed(Linear(2, 2)), "E102", "pickled Python objects[\\s\\S]*neurodeploy.save"),
    "a module, old format": (packed(Linear(2, 2), **OLD), "E102", "pickled Python objects"),
    "a pickled module": (pickle.dumps(Linear(2, 2)), "E102", "pickled Python objects"),
    "a function": (packed({"f": torch.relu}), "E102", "pickled Python objects"),
    "torchscript": (
        zipped(**{"data.pkl": pickle.dumps(Touch("x"), 2), "constants.pkl": b""}),
        "E102",
        "pickled",
    ),
    "a state dict": (packed(STATE), "E103", "without an architecture[\\s\\S]*neurodeploy.save"),
    "a state dict, old format": (packed(STATE, **OLD), "E103", "without an architecture"),
    "a trainer's checkpoint": (packed({"epoch": 1, "state_dict": STATE}), "E103", "state dict"),
    "unknown layers": (with_(model=nested("Odd")), "E104", "not known: Odd, X2"),
    "a class by its path": (with_(model={"class": "os.system", "config": {}}), "E104", "os.system"),
    "a bad parameter": (
        with_(model={"class": "PRF", "config": {"width": 3, "tau": -1}}),
        "E105",
        "tau must be > 0",
    ),
    "NaN": (with_state(poisoned), "E105", "in encoder.weight, norm.running_var"),
    "a misfit": (
        with_state(misfit),
        "E105",
        r"encoder.bias is missing; extra is not in the model; norm.weight is \[4\], not \[3\]; "
        r"norm.bias is torch.int64; classifier.bias is a str",
    ),
    "numbers of other kinds": (
        with_state(odd_kinds),
        "E105",
        r"encoder.weight is torch.complex64; norm.weight is torch.sparse_coo; norm.bias is "
        "torch.float8_e4m3fn",
    ),
    "two things": (with_state(both), "E105", r"not in the model[\s\S]*E105[\s\S]*NaN or infinite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_with_its_path_and_a_fix(name, tmp_path):
    data, code, says = REFUSED[name]
    path = tmp_path / "bad.pt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        load(path)
    assert (caught.value.code, caught.value.exit_code) == (code, 3)
    for record in caught.value.records():
        assert record["fix"]
        assert str(path) in record["where"]


def test_a_missing_file_and_a_folder(tmp_path):
    for path, says in ((tmp_path / "none.pt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=says) as caught:
            load(path)
        assert caught.value.code == "E101"
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("pack", [packed, pickle.dumps, lambda value: packed(value, **OLD)])
def test_nothing_in_a_file_is_ever_run(pack, tmp_path):
    flag, path = tmp_path / "was-run", tmp_path / "m.pt"
    path.write_bytes(pack({"a": Touch(flag)}))
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.code == "E102"
    assert not flag.exists()
    torch.load(path, weights_only=False) if pack is not pickle.dumps else pickle.loads(
        path.read_bytes()
    )
    assert flag.exists(), "the trap was not armed"


def test_the_untouched_file_of_the_table_loads(tmp_path):
    """So that each row above is refused for its change alone."""
    (tmp_path / "m.pt").write_bytes(with_())
    assert isinstance(load(tmp_path / "m.pt"), SDTCM)

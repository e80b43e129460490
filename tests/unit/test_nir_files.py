"""Reading NIR files: nothing outside the file is touched, nothing in it is ignored."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from support.networks import chain

from neurodeploy.backends.nir.graph import exported_form, write
from neurodeploy.errors import NeurodeployError
from neurodeploy.frontends import child, nir_child, nir_file, nir_walk
from neurodeploy.frontends.nir import read
from neurodeploy.graph.ir import identical


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Read in this process: hundreds of children would take minutes."""
    monkeypatch.setattr(nir_child, "tree", nir_walk.walk)


@pytest.fixture(scope="module")
def graph():
    layers = [("prf", {}), ("lif", {"reset": "soft"}), ("lif", {"reset": "hard"}), ("li", {})]
    return chain(np.random.default_rng(1), layers, norm=True, readout="mean", width=2)


@pytest.fixture(scope="module")
def whole(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("nir") / "g.nir"
    write(graph, path)
    return path.read_bytes()


@pytest.fixture
def path(whole, tmp_path):
    (tmp_path / "g.nir").write_bytes(whole)
    return tmp_path / "g.nir"


def refused(path):
    with pytest.raises(NeurodeployError) as caught:
        read(path)
    assert caught.value.exit_code == 3
    return caught.value.records()


def datasets(path):
    """Return the place of every dataset in a file."""
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    return found


def outcome(path, graph):
    """Return "same", "used" or the code of the refusal."""
    try:
        return "same" if identical(read(path), exported_form(graph)) else "used"
    except NeurodeployError as error:
        return error.code if error.exit_code == 3 else "not an input error"


def put(path, name, value):
    """Replace a dataset."""
    with h5py.File(path, "a") as file:
        del file[name]
        if isinstance(value, str):
            file.create_dataset(name, data=value, dtype=h5py.string_dtype())
        else:
            file.create_dataset(name, data=value)


def content(path, name):
    with h5py.File(path) as file:
        item = file[name]
        return item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]


@pytest.mark.parametrize("size", ["halfway", "one bit"])
def test_every_number_in_a_file_is_used_or_refused(size, path, graph, whole):
    outcomes = {}
    for name in datasets(path):
        value = content(path, name)
        if isinstance(value, str) or value.dtype.kind not in "fi":
            continue
        path.write_bytes(whole)
        if value.dtype.kind == "i":
            new = value + 1
        elif size == "halfway":
            new = (value + 0.75) / 2
        else:
            new = value.copy()
            new.flat[0] = np.nextafter(new.flat[0], 99.0)
        put(path, name, new)
        outcomes[name] = outcome(path, graph)
    assert len(outcomes) >= 60
    assert "same" not in outcomes.values(), [k for k, v in outcomes.items() if v == "same"]
    assert outcomes["node/nodes/0.linear/weight"] == "used"
    assert outcomes["node/nodes/0.neurons/nodes/re/tau"] == "E108"
    if size == "halfway":
        assert outcomes["node/nodes/0.neurons/metadata/neurodeploy/params.tau"] == "E108"
    else:
        assert outcomes["node/nodes/0.neurons/metadata/neurodeploy/params.tau"] == "used"


def test_every_word_in_a_file_is_used_or_refused(path, graph, whole):
    outcomes = {}
    for name in datasets(path):
        value = content(path, name)
        if isinstance(value, str):
            path.write_bytes(whole)
            put(path, name, value + "x")
            outcomes[name] = outcome(path, graph)
    free = {"version", "node/metadata/neurodeploy/about"}
    assert {name for name, found in outcomes.items() if found == "same"} == free


def test_every_object_that_is_missing_is_missed(path, graph, whole):
    with h5py.File(path) as file:
        places = []
        file.visit(places.append)
    for name in [place for place in places if place != "version"][::3]:
        path.write_bytes(whole)
        with h5py.File(path, "a") as file:
            del file[name]
        found = outcome(path, graph)
        expected = "same" if name.endswith("neurodeploy/about") else "E"
        assert found.startswith(expected), (name, found)


def external_storage(file):
    del file["node/nodes/out/weight"]
    file.create_dataset(
        "node/nodes/out/weight", (2, 2), "f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


def virtual(file):
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2, 2))
    del file["node/nodes/out/weight"]
    file.create_virtual_dataset("node/nodes/out/weight", layout)


def huge(file):
    del file["node/nodes/out/weight"]
    file.create_dataset("node/nodes/out/weight", (200_000, 200_000), "f8", chunks=(1, 1))


def deep(file):
    group = file["node/nodes/out"]
    for _ in range(20):
        group = group.create_group("metadata" if group.name.endswith("out") else "more")


def loop(file):
    file["node/nodes/out/metadata"] = file["node"]


def opaque(file):
    file["node/nodes/out/extra"] = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])


def single_precision(file):
    place(TAU, file[TAU][()].astype("f4"))(file)


def retype(name, kind):
    def apply(file):
        del file[f"node/nodes/{name}/type"]
        file[f"node/nodes/{name}/type"] = kind

    return apply


def edges(change):
    def apply(file):
        old = [(a.decode(), b.decode()) for a, b in file["node/edges"][()]]
        del file["node/edges"]
        file.create_dataset("node/edges", data=change(old), dtype=h5py.string_dtype())

    return apply


def metadata(**changes):
    def apply(file):
        home = file["node/metadata/neurodeploy"]
        for key, value in changes.items():
            if key in home:
                del home[key]
            home.create_dataset(key, data=value, dtype=h5py.string_dtype())

    return apply


def record(change):
    def apply(file):
        home = file["node/metadata/neurodeploy"]
        value = json.loads(home["graph"].asstr()[()])
        change(value)
        del home["graph"]
        home.create_dataset("graph", data=json.dumps(value), dtype=h5py.string_dtype())

    return apply


def not_a_number(file):
    file["node/nodes/out/weight"][...] = np.nan


def place(name, value):
    """Return a change that puts `value` where `name` is, in place of what stands there."""

    def apply(file):
        if name in file:
            del file[name]
        file[name] = value

    return apply


def remove(name):
    return lambda file: file.__delitem__(name)


def both(*changes):
    return lambda file: [change(file) for change in changes]


def copied(name, other):
    return lambda file: file.copy(f"node/nodes/{name}", f"node/nodes/{other}")


def field(i, key, value):
    """Return a change of a field of node `i` of the record."""
    return record(lambda r: r["nodes"][i]["fields"].update({key: value}))


OUT = "node/nodes/out"
WEIGHT = f"{OUT}/weight"
TAU = "node/nodes/0.neurons/nodes/re/tau"
OWN = "node/nodes/0.neurons/metadata/neurodeploy"
LAST = ("out", "output")
TWO_UNKNOWN = "2 nodes are not supported: '0.linear' (ALIF), 'out' (GRU)"
NO_DATA = h5py.Empty("f8")

EDITS = {
    "external link": ("E101", "external link", place(WEIGHT, h5py.ExternalLink("o.h5", "/x"))),
    "soft link": ("E101", "a soft or", place(WEIGHT, h5py.SoftLink(f"/{TAU}"))),
    "dangling link": ("E101", "a soft or", place(WEIGHT, h5py.SoftLink("/nowhere"))),
    "external storage": ("E101", "data stored outside", external_storage),
    "virtual dataset": ("E101", "data stored outside", virtual),
    "more than the budget": ("E101", "more data than the budget", huge),
    "too deep": ("E101", "nested more than", deep),
    "a group in itself": ("E101", "nested more than", loop),
    "another kind of data": ("E101", "data of type", opaque),
    "an empty dataset": ("E101", "an empty dataset", place(f"{OUT}/more", NO_DATA)),
    "a named type": ("E101", "NIR does not have", place(f"{OUT}/more", np.dtype("f8"))),
    "no graph": ("E101", "holds no NIR graph", remove("node/type")),
    "unknown entry": ("E101", "unknown entries", place("node/more", 1.0)),
    "unknown types": ("E104", TWO_UNKNOWN, both(retype("out", "GRU"), retype("0.linear", "ALIF"))),
    "another type": ("E108", '"out" is a Linear, not a Affine', retype("out", "Linear")),
    "NaN weights": ("E105", "NaN or infinite", not_a_number),
    "missing edge": ("E108", "edge ('out', 'output') is", edges(lambda e: [*({*e} - {LAST})])),
    "more edges": ("E108", "('input', 'out') is not", edges(lambda e: [*e, ("input", "out")])),
    "an edge twice": ("E108", "an edge twice", edges(lambda e: [*e, e[0]])),
    "an edge to nowhere": ("E101", "'nobody', which", edges(lambda e: [*e, ("input", "nobody")])),
    "edges that are none": ("E101", "edges are not pairs", edges(lambda e: ["a", "b", "c"])),
    "another node": ("E108", 'node "more" is not expected', copied("out", "more")),
    "another step": ("E108", "metadata 'dt' is '1.0'", metadata(dt="1.0")),
    "another readout": ("E108", "metadata 'readout'", metadata(readout="last")),
    "another digest": ("E108", "or the digest was", metadata(digest="0" * 64)),
    "unknown metadata": ("E108", "metadata 'more'", metadata(more="x")),
    "damaged record": ("E101", "is damaged", metadata(graph="{")),
    "another record": ("E101", "not a record of format", record(lambda r: r.update(format="x"))),
    "unknown operation": ("E107", "unknown op", record(lambda r: r["nodes"][1].update(op="Fft"))),
    "other names": ("E101", "do not belong", record(lambda r: r["nodes"][1].update(name="b"))),
    "a record without nodes": ("E101", "do not belong", record(lambda r: r.pop("nodes"))),
    "other options": ("E108", "metadata of node", field(2, "options", {"compare": ">"})),
    "other direction": ("E108", "run backwards in time", field(2, "reverse", True)),
    "another output": ("E108", "metadata 'readout'", record(lambda r: r.update(output="out"))),
    "constants for nobody": ("E101", "belongs to no node", place(f"{OWN}/more", np.zeros(2))),
    "metadata that is no group": ("E101", "is not a group", place(f"{OUT}/metadata", 1.0)),
    "metadata of no node": ("E108", "metadata of", place(f"{OUT}/metadata/neurodeploy/more", "x")),
    "single precision": ("E108", "derive from the metadata", single_precision),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_that_is_refused(name, path):
    code, text, change = EDITS[name]
    with h5py.File(path, "a") as file:
        change(file)
    records = refused(path)
    assert any(item["code"] == code and text in item["what"] for item in records), records


def test_a_budget_of_bytes_is_kept(path):
    with pytest.raises(NeurodeployError, match="more data than the budget of 100 bytes"):
        nir_file.read_net(path, budget=100)


FILES = {
    "missing": (None, "no such file"),
    "empty": (b"", "truncated or not a NIR file"),
    "text": (b"hello\n" * 50, "truncated or not a NIR file"),
    "only the head": (b"\x89HDF\r\n\x1a\n", "truncated or not a NIR file"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_no_model(name, tmp_path):
    data, text = FILES[name]
    path = tmp_path / "m.nir"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(NeurodeployError, match=text) as caught:
        read(path)
    assert caught.value.code == "E101"


def test_a_folder_is_no_file(tmp_path):
    assert refused(tmp_path)[0]["code"] == "E101"


def test_every_truncation_is_refused(path, whole):
    for size in range(0, len(whole), len(whole) // 53):
        path.write_bytes(whole[:size])
        assert refused(path)[0]["code"] == "E101"


def test_our_files_without_their_metadata_are_ambiguous(path):
    with h5py.File(path, "a") as file:
        del file["node/metadata"]
    (only,) = refused(path)
    assert only["code"] == "E108"
    assert "a loop among 0.neurons.im" in only["what"]
    assert "on which connection a step passes" in only["what"]


class TestChild:
    """The real way: in a process of its own."""

    tree = staticmethod(nir_child.tree)

    @pytest.fixture(autouse=True)
    def isolated(self, monkeypatch, in_process):
        monkeypatch.setattr(nir_child, "tree", self.tree)

    def test_files_are_read_and_refused_alike(self, path, graph, tmp_path):
        assert identical(read(path), exported_form(graph))
        with h5py.File(path, "a") as file:
            place(WEIGHT, h5py.SoftLink("/x"))(file)
        assert "a soft or external link" in refused(path)[0]["what"]
        assert "no such file" in refused(tmp_path / "none.nir")[0]["what"]

    def test_one_that_does_not_end_is_ended(self, path):
        with pytest.raises(NeurodeployError, match="did not end within") as caught:
            nir_child.tree(path, 2**20, seconds=0.01)
        assert caught.value.code == "E101"

    @pytest.mark.parametrize("death", ["os.abort()", "sys.exit(3)", "[0] * 2**40"])
    def test_one_that_dies_is_an_error(self, death, path, monkeypatch):
        monkeypatch.setattr(child, "_START", f"import os, sys; {death}")
        with pytest.raises(NeurodeployError, match="ended with code") as caught:
            read(path)
        assert caught.value.code == "E101"

    def test_no_module_beside_the_file_is_imported(self, path, monkeypatch):
        (path.parent / "h5py.py").write_text("raise SystemExit(9)")
        (path.parent / "json.py").write_text("raise SystemExit(9)")
        monkeypatch.chdir(path.parent)
        assert len(read(path)) > 3

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from neurodeploy.errors import InputError
from neurodeploy.frontends.data import read_data

X = np.zeros((3, 2, 1))


def save(path, **arrays):
    np.savez(path, **arrays)


def truncated(path):
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.random.default_rng(0).normal(size=(50, 2, 1)))
    path.write_bytes(stream.getvalue()[:300])


def corrupt(path):
    save(path, x=np.random.default_rng(0).normal(size=(50, 2, 1)))
    data = bytearray(path.read_bytes())
    data[300] ^= 0xFF
    path.write_bytes(bytes(data))


BAD = [
    (lambda p: None, "E101", "no such file"),
    (lambda p: p.mkdir(), "E101", "cannot read"),
    (lambda p: p.write_text("hello"), "E101", "truncated or not an .npz file"),
    (lambda p: p.write_bytes(b""), "E101", "truncated or not an .npz file"),
    (truncated, "E101", "truncated or not an .npz file"),
    (corrupt, "E101", "truncated or not an .npz file"),
    (lambda p: save(p, y=np.zeros(3)), "E106", "has no array x"),
    (lambda p: save(p, x=np.zeros((3, 2))), "E106", "x has shape (3, 2)"),
    (lambda p: save(p, x=np.zeros((0, 2, 1))), "E106", "x has shape (0, 2, 1)"),
    (lambda p: save(p, x=X.astype(str)), "E106", "not numbers"),
    (lambda p: save(p, x=X.astype(complex)), "E106", "not numbers"),
    (lambda p: save(p, x=np.full((3, 2, 1), np.nan)), "E106", "NaN or infinite"),
    (lambda p: save(p, x=X, y=np.zeros(3, int)), "E106", "y has shape (3,)"),
    (lambda p: save(p, x=X, y=np.zeros(2)), "E106", "type float64"),
    (lambda p: save(p, x=np.array([[[object()]]])), "E102", "pickled"),
]


@pytest.mark.parametrize(("make", "code", "says"), BAD)
def test_a_bad_data_set_is_named_and_explained(tmp_path, make, code, says):
    path = tmp_path / "data.npz"
    make(path)
    with pytest.raises(InputError) as caught:
        read_data(path)
    assert caught.value.code == code
    assert says in caught.value.what
    assert caught.value.fix


def test_a_lone_array_is_not_a_data_set(tmp_path):
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(InputError, match=r"not an \.npz file"):
        read_data(tmp_path / "data.npy")


def test_inputs_keep_their_type_and_labels_are_optional(tmp_path):
    save(tmp_path / "a.npz", x=X.astype(np.uint8), y=np.array([1, 0]))
    data = read_data(tmp_path / "a.npz")
    assert data.x.dtype == np.uint8
    np.testing.assert_array_equal(data.y, [1, 0])
    save(tmp_path / "b.npz", x=X)
    assert read_data(tmp_path / "b.npz").y is None
    assert zipfile.is_zipfile(tmp_path / "b.npz")

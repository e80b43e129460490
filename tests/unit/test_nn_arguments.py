"""Whatever an argument of a module of `neurodeploy.nn` is, it is taken or refused by name.

All arguments of all classes are tried with all values, those that a network hands to its parts
too. What has the kind of the argument's own value (a size, a number, a flag, a choice, numbers per
axis) may be taken; what has another kind must not be.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from unit.test_nn_options import OPTIONS, WIDTH

import neurodeploy as nd
from neurodeploy.errors import InputError

VALUES = [2.5, -0.5, math.nan, math.inf, 1j, -1, 0, True, "3", "x", None, {}, [], [3], [2.5, 3.5]]
VALUES += [torch.zeros(3), torch.zeros(2, 2), np.zeros(3), object()]
CLASSES = [name for name in nd.nn.__all__ if inspect.isclass(getattr(nd.nn, name))]
UNSET = {"jump": float, "v_min": float, "tokens": int, "checkpoint_steps": int}
OPEN = {"v_min", "jump", "gain", "gamma", "norm", "features", "momentum", "checkpoint_steps"}
OPEN |= {"tokens", "stride", "sdn", "beta", "encoding"}  # None stands for something


def start_of(name):
    """Return arguments with which the class can be built."""
    start = {"inputs": 2, "neuron": nd.nn.LIF(3)} if name == "SpikingLayer" else OPTIONS[name][0]
    takes_width = "width" in inspect.signature(getattr(nd.nn, name)).parameters
    return {"width": WIDTH, **start} if takes_width else start


def rows():
    for name in CLASSES:
        kind, start = getattr(nd.nn, name), start_of(name)
        module = kind(**start)
        yield from ((name, key) for key in (module.config() if name in OPTIONS else start))


def fits(value, own, key):
    """Say whether a value is of the kind of an argument's own value."""
    if value is None:
        return key in OPEN
    kind = UNSET.get(key, type(own)) if own is None else type(own)
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf
    if value is True and key == "recurrent":  # for all layers
        return True
    if kind in (tuple, list):
        numbers = value if isinstance(value, list) else [value]
        return all(type(one) in (int, float) for one in numbers)
    if kind is int:
        one = value[0] if isinstance(value, list) and len(value) == 1 and key == "steps" else value
        return type(one) is int
    return isinstance(value, kind)


@pytest.mark.parametrize(("name", "key"), list(rows()), ids=str)
def test_an_argument_is_taken_or_refused_by_name(name, key):
    kind, start = getattr(nd.nn, name), start_of(name)
    own = start["neuron"] if name == "SpikingLayer" and key == "neuron" else None
    own = kind(**start).config()[key] if name in OPTIONS else start.get(key, own)
    errors = [tried(kind, {**start, key: value}) for value in VALUES]
    for value, error in zip(VALUES, errors, strict=True):
        if error is None:
            assert fits(value, own, key), value
        else:
            assert (error.code, bool(error.fix)) == ("E105", True), value
            assert error.where.startswith("neurodeploy.nn."), value
    assert any(errors)


def tried(kind, arguments):
    """Return the error with which a module refuses its arguments, or None."""
    try:
        kind(**arguments)
    except InputError as error:
        return error
    return None


@pytest.mark.parametrize("name", [name for name in CLASSES if "width" in start_of(name)])
def test_a_size_may_be_a_number_of_numpy(name):
    start = start_of(name)
    module = getattr(nd.nn, name)(**{**start, "width": np.int64(start["width"])})
    assert module.config()["width"] == start["width"]


def test_the_error_names_class_argument_and_value():
    with pytest.raises(InputError) as caught:
        nd.nn.SDTCM(1, 2.5, 1, 2)
    assert caught.value.where == "neurodeploy.nn.SDTCM"
    assert caught.value.what == "width is 2.5"
    assert caught.value.fix == "give a whole number of at least 1"

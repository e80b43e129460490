"""Count the arithmetic of a step by running it on arrays that count, one element at a time."""

from __future__ import annotations

import numpy as np

from neurodeploy.arith import Real

_NAMES = {
    "multiply": "mul",
    "add": "add",
    "subtract": "add",
    "greater_equal": "cmp",
    "greater": "cmp",
    "maximum": "cmp",
    "divide": "div",
}


class Counting(np.ndarray):
    """An array whose every elementwise operation is counted, per element of the result."""

    tally: dict

    def __array_finalize__(self, other):
        self.tally = getattr(other, "tally", None)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        plain = [np.asarray(value) for value in inputs]
        result = np.asarray(getattr(ufunc, method)(*plain, **kwargs)).view(Counting)
        result.tally = self.tally
        if ufunc.__name__ != "floor":  # part of an integer division
            self.tally[_NAMES[ufunc.__name__]] += result.size
        return result

    def __array_function__(self, function, types, args, kwargs):
        assert function is np.where
        result = function(*(np.asarray(arg) for arg in args), **kwargs).view(Counting)
        result.tally = self.tally
        self.tally["select"] += result.size
        return result


def counted(spec, options, coefs):
    """Return the operations of one update of one neuron, measured on a run of several."""
    tally = dict.fromkeys(("mul", "add", "cmp", "select", "div"), 0)

    def watch(value):
        array = np.array(value, float).view(Counting)
        array.tally = tally
        return array

    width, steps = np.shape(coefs[0])[-1], 10
    coefs = spec.at(coefs, 0)
    modes = spec.modes(coefs._asdict())
    k = spec.coefs(*(watch(value) for value in coefs))
    rest = np.zeros((spec.rows(spec.state._fields, modes), width))
    z = spec.state(*(watch(value) for value in spec.parts(spec.state, rest, modes)))
    for row in np.random.default_rng(0).normal(size=(steps, width)):
        _, z = spec.step(Real(), k, z, watch(row), options)
    assert all(value % (width * steps) == 0 for value in tally.values())
    return {key: value // (width * steps) for key, value in tally.items()}

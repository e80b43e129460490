"""Vector operations at their edges: reference, simulator and sessions are a loop by hand.

Their tables are anything, their formats often too narrow for what arrives, and half of what is
rounded may lie on a tie.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import assert_exact, drawn, pieces, reference, simulator
from support.programs import CURRENT, Layer, program

from neurodeploy.arith import OVERFLOWS, ROUNDINGS
from neurodeploy.neurons import SPECS
from neurodeploy.program.synapses import Dense, Tap
from neurodeploy.program.vector import KINDS

SOURCES = [(0, 1), (-1, 1), (-128, 127), (-CURRENT, CURRENT)]
HOW = {"rounding": "nearest", "overflow": "saturate"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_loop_and_clips(kind):
    """Of many draws; something must have been sent, and something not have fitted."""
    lost, sent = 0, set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        source = (5, *SOURCES[seed % len(SOURCES)])
        layer = Layer((1, 4, 6)[seed % 3], kind, recurrent=seed % 2 == 0, reverse=seed % 4 == 1)
        made = program(rng, source, [layer], **HOW, steps=4)
        want = assert_exact(made, drawn(rng, source, 4, 5), [reference, simulator, pieces])
        lost += want.lost["n0"]
        sent |= set(np.ravel(want.values["n0"]).tolist())
    assert lost > 0
    assert len(sent) >= (3 if kind.startswith("ternary") else 10)


@st.composite
def programs(draw, kind):
    """A program with an operation of this kind, alone or beside another node, and inputs."""
    layers = [draw(drawn_layers([kind]))]
    if draw(st.booleans()):
        layers.insert(draw(st.integers(0, 1)), draw(drawn_layers([*KINDS, "lif", "li", None])))
    source = (draw(st.sampled_from([1, 5, 17])), *draw(st.sampled_from(SOURCES)))
    steps, samples = draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 3, 4, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    how = {"rounding": draw(st.sampled_from(ROUNDINGS))}
    how["overflow"] = draw(st.sampled_from(OVERFLOWS))
    made = program(rng, source, layers, steps=steps, **how)
    return made, drawn(rng, source, steps, samples)


@st.composite
def drawn_layers(draw, kinds):
    width, spec = draw(st.sampled_from([1, 2, 5, 16])), draw(st.sampled_from(kinds))
    options = SPECS[spec].options() if spec in SPECS else {}
    reverse, recurrent = draw(st.booleans()), draw(st.booleans())
    return Layer(width, spec, options, bits=12, frac=6, reverse=reverse, recurrent=recurrent)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_program_is_the_loop(kind, data):
    assert_exact(*data.draw(programs(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_only_an_lstm_hears_itself_or_runs_backwards(kind):
    """A delay that ran backwards was one that looks back in the simulator, and ahead elsewhere."""
    rng = np.random.default_rng(0)
    made = program(rng, (3, -8, 7), [Layer(3, kind)], **HOW, steps=2)
    node = made["n0"]
    own = Dense(source="n0", weight=np.ones((3, 3), int), weight_bits=2, delay=1)
    tap = Tap(source="n0", sign=np.ones(3, int), delay=1)

    def hearing(edge):
        return replace(node, edges=(*node.edges, edge), operands=(*node.operands, 0))

    if kind == "lstm":
        assert replace(node, reverse=True).reverse
        assert hearing(own).edges[-1] is own
    else:
        with pytest.raises(ValueError, match="nor runs backwards"):
            replace(node, reverse=True)
        with pytest.raises(ValueError, match="neither hears itself"):
            hearing(own)
    with pytest.raises(ValueError, match="n0"):
        hearing(tap)

"""Programs of one population that take its currents as they are, and runs from any state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.backends.simulator.layers import layers
from neurodeploy.backends.simulator.runner import Runner
from neurodeploy.program.ir import Population, Program, Readout, Source
from neurodeploy.program.synapses import Tap
from neurodeploy.targets import target


def one_population(spec, options, coefs, fixed, *, shift, bias, top, reverse=False):
    """Return input -> "n", whose current is the input, at most `top` of either sign."""
    width = len(bias)
    numbers = replace(
        target("asic45").numbers,
        state_bits=fixed.state_bits,
        rounding=fixed.rounding,
        overflow=fixed.overflow,
    )
    node = Population(
        name="n",
        width=width,
        edges=(Tap(source="input", sign=np.ones(width, int)),),
        spec=spec.name,
        options=options,
        coefs=coefs._asdict(),
        shift=shift,
        bias=bias,
        state_bits=fixed.state_bits,
        unit=np.ones(width),
        coef_frac=fixed.coef_frac,
        reverse=reverse,
    )
    return Program(
        name="one",
        target=replace(target("asic45"), numbers=numbers),
        numbers=numbers,
        nodes=(Source(name="input", width=width, low=-top, high=top, unit=1.0), node),
        readout=Readout(source="n", kind="last", unit=np.ones(width), offset=np.zeros(width)),
    )


def run_from(program, current, starts):
    """Run "n" on currents [T, B, N] from states [states, B, N].

    Return what it sends [T, B, N], its states, and the overflows; and the width in bits in which
    the kernel computed it.
    """
    made = layers(program)
    runner = Runner(program, made, current.shape[1], len(current))
    (stage,) = runner._stages
    width = program["n"].width
    stage.calls[0].z[..., :width] = starts
    runner.advance(current, None)
    lost = int(runner.counts[-1].sum())
    sent = stage.values.whole().transpose(1, 0, 2)
    return sent, stage.states, lost, made["n"][0].form.cell.width.bits

"""Operations from sizes: the published tables, and brute force."""

from __future__ import annotations

import pytest

from neurodeploy.errors import InputError
from neurodeploy.reports.analytic import LIF, TCLIF, Operations, lstm, relu_mlp, s4d, spiking
from neurodeploy.targets import prices

SIZES = (1, 64, 256, 256, 10)
TWO = (True, True, False)
RATES = {"lif": (0.219, 0.145, 0.004), "tclif": (0.294, 0.146, 0.030)}
PAPER = prices("paper45")


def nj(operations):
    return operations.energy_pj(PAPER) / 1000


def test_the_lstm_of_the_published_table():
    assert round(nj(lstm(SIZES[:-1], recurrent=TWO)), 2) == 2834.78
    assert lstm((3, 5), recurrent=(True,)).macs == 4 * (15 + 25) + 85


@pytest.mark.parametrize(
    ("rates", "update", "how", "printed"),
    [
        ("lif", LIF, {}, 23.89),
        ("tclif", TCLIF, {}, 28.22),
        ("lif", LIF, {"inputs": "mac", "output_macs": False}, 24.14),
        ("tclif", TCLIF, {"inputs": "mac", "output_macs": False}, 28.42),
    ],
)
def test_the_spiking_networks_of_the_published_table(rates, update, how, printed):
    assert round(nj(spiking(SIZES, RATES[rates], update, recurrent=TWO, **how)), 2) == printed


def test_the_lif_network_of_the_ce_lif_paper():
    """Chen et al. 2023: [64, 256, 256], three recurrent layers, 24.1 nJ."""
    rates, three = (0.22, 0.145, 0.004), (True,) * 3
    found = spiking(SIZES, rates, LIF, recurrent=three, output_macs=False)
    assert round(nj(found), 1) == 24.1


def test_spiking_operations_are_those_of_a_network_that_counts():
    """Every neuron fires at every step: count synapse by synapse."""
    sizes, again = (2, 3, 4, 2), (True, False)
    acs = macs = 0
    for layer, (m, n) in enumerate(((3, 0), (3, 4), (4, 2))):
        if layer == 0:
            acs += sum(1 for _ in range(2) for _ in range(3))  # inputs
            acs += 3 * 3  # recurrent
        else:
            acs += m * n
    acs += TCLIF.acs_per_spike * (3 + 4)
    macs += TCLIF.macs * (3 + 4 + 2)
    found = spiking(sizes, (1, 1), TCLIF, recurrent=again, inputs="ac")
    assert (found.acs, found.macs) == (acs, macs)


def test_other_baselines():
    assert relu_mlp((784, 256, 10)).macs == 784 * 256 + 2560
    assert s4d(1, 1, 1, mixed=0).macs == 7  # c re, d im, d re, c im; C re, C im; D
    assert s4d(4, 128, 32).macs == 4 * (128 * (32 * 6 + 1) + 128 * 256)


def test_operations_add_up_and_have_a_price():
    total = Operations(macs=1, acs=2) + Operations(macs=3).times(2)
    assert total == Operations(macs=7, acs=2)
    assert total.energy_pj(PAPER) == pytest.approx(7 * 4.6 + 2 * 0.9)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lstm((1, 2), recurrent=()), "0 recurrent for 1 layers"),
        (lambda: spiking(SIZES, (1,), LIF, recurrent=TWO), "1 rates for 3 layers"),
        (lambda: spiking(SIZES, (1, 1, 1), LIF, recurrent=TWO, inputs="x"), "no inputs 'x'"),
    ],
)
def test_what_does_not_fit_is_named(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert caught.value.code == "E105"

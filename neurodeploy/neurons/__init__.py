"""Every neuron the toolchain knows. Adding one is one file and one line here."""

from neurodeploy.neurons.alif import ALIF
from neurodeploy.neurons.celif import CELIF
from neurodeploy.neurons.cubalif import CUBALIF
from neurodeploy.neurons.li import LI
from neurodeploy.neurons.lif import LIF
from neurodeploy.neurons.multispike import MULTISPIKE
from neurodeploy.neurons.prf import PRF
from neurodeploy.neurons.s4d import S4D
from neurodeploy.neurons.spatial import SPATIAL
from neurodeploy.neurons.spec import Kind, NeuronSpec, Traced
from neurodeploy.neurons.tclif import TCLIF
from neurodeploy.neurons.two_compartment import TWO_COMPARTMENT

SPECS: dict[str, NeuronSpec] = {
    spec.name: spec
    for spec in (
        *(PRF, LIF, SPATIAL, LI, CELIF, S4D, ALIF, TCLIF, TWO_COMPARTMENT, CUBALIF, MULTISPIKE),
    )
}

__all__ = ["SPECS", "Kind", "NeuronSpec", "Traced"]

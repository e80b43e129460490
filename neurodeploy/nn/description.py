"""What a model is, as plain data, without its weights; and a model of that structure again.

    {"class": "SDTCM", "config": {...}}
    {"class": "torch.nn.Sequential", "children": [[name, {"class": ...}], ...]}

A part that several modules share (`SHARED`) is built once: "shared" in the description lists the
paths of each such part. Classes are looked up in `CLASSES`; a file cannot name any other.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from neurodeploy.errors import InputError, NeurodeployError
from neurodeploy.nn.adaptive import ALIF
from neurodeploy.nn.celif import CELIF, CELIFNet, TemporalEncoding
from neurodeploy.nn.compartments import TCLIF, TwoCompartment
from neurodeploy.nn.delay import Delay
from neurodeploy.nn.gsu import GSUBlock, GSUNetwork
from neurodeploy.nn.integrate import CubaLIF, MultiSpikeLIF
from neurodeploy.nn.layers import BatchNorm, Embedding, Readout, Scale
from neurodeploy.nn.lstm import LSTM
from neurodeploy.nn.maps import Conv, Pool
from neurodeploy.nn.networks import SpikingMLP
from neurodeploy.nn.neurons import LI, LIF, PRF, SpatialNeuron
from neurodeploy.nn.parallel import ParallelLIF
from neurodeploy.nn.s4d import S4D
from neurodeploy.nn.sdn import SDN, SurrogateLIF, Threshold
from neurodeploy.nn.sdtcm import SDTCM, SDTCMBlock
from neurodeploy.nn.spiking_ssm import BinaryS4D, BinaryS4DBlock, SpikingSSM, SpikingSSMBlock
from neurodeploy.nn.ternary import GSU, Ternary

SEQUENTIAL = "torch.nn.Sequential"
CLASSES: dict[str, type[torch.nn.Module]] = {
    **{c.__name__: c for c in (PRF, LIF, SpatialNeuron, LI, S4D, ALIF, TCLIF)},
    **{c.__name__: c for c in (TwoCompartment, ParallelLIF, CubaLIF, MultiSpikeLIF, LSTM)},
    **{c.__name__: c for c in (BatchNorm, Embedding, Readout, Scale, Conv, Pool, Delay)},
    **{c.__name__: c for c in (CELIF, CELIFNet, TemporalEncoding)},
    **{c.__name__: c for c in (SDTCMBlock, SDTCM, SpikingMLP, SDN, SurrogateLIF, Threshold)},
    **{c.__name__: c for c in (SpikingSSMBlock, SpikingSSM, BinaryS4DBlock, BinaryS4D)},
    "torch.nn.Linear": torch.nn.Linear,
    "torch.nn.LayerNorm": torch.nn.LayerNorm,
    "torch.nn.GELU": torch.nn.GELU,
    "torch.nn.ReLU": torch.nn.ReLU,
    "torch.nn.GLU": torch.nn.GLU,
    "torch.nn.Dropout": torch.nn.Dropout,
    "torch.nn.Identity": torch.nn.Identity,
    **{c.__name__: c for c in (Ternary, GSU, GSUBlock, GSUNetwork)},
}
SHARED = (TemporalEncoding, SDN)  # what a network may use in several places
NAMES = {kind: name for name, kind in CLASSES.items()}


def describe(model: torch.nn.Module) -> dict[str, Any]:
    """Return the plain data from which `build` makes a model of the same structure.

    Raises InputError E104, naming every module that it cannot describe.
    """
    unknown: list[str] = []
    description = _describe(model, "", unknown)
    shared = _shared(model)
    if shared and not unknown:
        description["shared"] = shared
    if not unknown:
        rebuilt, once = dict(build(description, "").named_modules()), dict(model.named_modules())
        for name, module in model.named_modules(remove_duplicate=False):
            if name not in once and _first(name, shared) == name:
                unknown.append(f"{_shown(module, name)}, used more than once")
            elif name in once and _identity(module) != _identity(rebuilt.get(name)):
                unknown.append(f"{_shown(module, name)}, changed since it was built")
    if unknown:
        what = f"a checkpoint cannot describe {'; '.join(unknown)}"
        raise InputError("E104", what, fix=f"use {', '.join((*CLASSES, SEQUENTIAL))}")
    return description


def _shared(model: torch.nn.Module) -> list[list[str]]:
    """Return the paths of each part that stands in several places."""
    paths: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, SHARED):
            paths.setdefault(id(module), []).append(name)
    return [names for names in paths.values() if len(names) > 1]


def firsts(model: torch.nn.Module) -> dict[str, str]:
    """Return for every name of a weight the name under which a file has it."""
    shared = _shared(model)
    return {key: _first(key, shared) for key in model.state_dict()}


def _first(name: str, shared: list[list[str]]) -> str:
    """Return what a part or weight is called in the first place of the shared part it is in."""
    for first, *others in shared:
        for path in others:
            if f"{name}.".startswith(f"{path}."):
                return first + name[len(path) :]
    return name


def own_weights(model: torch.nn.Module) -> list[str]:
    """Return the names of a model's weights, each once."""
    return list(dict.fromkeys(firsts(model).values()))


def _describe(module: torch.nn.Module, path: str, unknown: list[str]) -> dict[str, Any]:
    kind = type(module)
    if kind in NAMES:
        try:
            return {"class": NAMES[kind], "config": _config(module)}
        except AttributeError:  # a part was replaced by one of another class
            unknown.append(f"{_shown(module, path)}, changed since it was built")
            return {}
    if kind is not torch.nn.Sequential:
        unknown.append(_shown(module, path))
    children = [
        [name, _describe(child, f"{path}.{name}" if path else name, unknown)]
        for name, child in module.named_children()
    ]
    return {"class": SEQUENTIAL, "children": children}


def _config(module: Any) -> dict[str, Any]:
    """Return the arguments that build a module anew, as plain data."""
    named: dict[str, Any] = _plain(_arguments(module))
    return named


def _plain(value: Any) -> Any:
    """Return numbers of numpy and torch as Python's: others are objects, which no file may hold."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(one) for one in value)
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return value.tolist()
    return value


def _arguments(module: Any) -> dict[str, Any]:
    if isinstance(module, torch.nn.Linear):
        sizes = {"in_features": module.in_features, "out_features": module.out_features}
        return {**sizes, "bias": module.bias is not None}
    if isinstance(module, torch.nn.Dropout):
        return {"p": module.p}
    if isinstance(module, torch.nn.LayerNorm):
        affine, bias = module.weight is not None, module.bias is not None
        shape = list(module.normalized_shape)
        named = {"eps": module.eps, "elementwise_affine": affine, "bias": bias or not affine}
        return {"normalized_shape": shape, **named}
    if isinstance(module, torch.nn.GELU):
        return {"approximate": module.approximate}
    if isinstance(module, torch.nn.GLU):
        return {"dim": module.dim}
    if isinstance(module, torch.nn.ReLU):
        return {"inplace": module.inplace}
    return {} if isinstance(module, torch.nn.Identity) else dict(module.config())


def _shown(module: torch.nn.Module, path: str) -> str:
    return f"{path or 'the model'} ({type(module).__module__}.{type(module).__qualname__})"


def _identity(module: torch.nn.Module | None) -> Any:
    """Return what must be equal for two modules to be the same but for their weights."""
    kind = type(module)
    names = sorted(module.state_dict()) if module is not None else []
    return kind, names, _config(module) if kind in NAMES else None


class _NoStart(TorchFunctionMode):
    """Leave tensors as memory has them where modules set values to start from.

    Their memory is not touched, and no random numbers are taken.
    """

    FILL = (Tensor.uniform_, Tensor.normal_)
    DRAW = (torch.rand, torch.randn)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in self.FILL or getattr(func, "__module__", "") == torch.nn.init.__name__:
            return args[0] if args else named["tensor"]
        return (torch.empty if func in self.DRAW else func)(*args, **named)


def build(description: Any, where: str) -> torch.nn.Module:
    """Return the described model without weights: what its tensors hold means nothing."""
    unknown: list[str] = []
    try:
        with _NoStart():
            model = _build(description, unknown)
            for first, *others in description.get("shared", ()) if not unknown else ():
                for name in others:
                    parent, _, leaf = name.rpartition(".")
                    setattr(model.get_submodule(parent), leaf, model.get_submodule(first))
    except NeurodeployError as error:
        error.where = f"{where}: {error.where}" if where else error.where
        raise
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        what = f"the description of the model is damaged: {error}"
        raise InputError("E101", what, where=where, fix="save the model again") from error
    if unknown:
        what = f"the model has layers that are not known: {', '.join(sorted(set(unknown)))}"
        fix = "upgrade neurodeploy if a later version saved the file"
        raise InputError("E104", what, where=where, fix=fix)
    return model


def _build(description: Any, unknown: list[str]) -> torch.nn.Module:
    name = description["class"]
    if name == SEQUENTIAL:
        children = [(str(key), _build(child, unknown)) for key, child in description["children"]]
        return torch.nn.Sequential(OrderedDict(children))
    if name not in CLASSES:
        unknown.append(str(name))
        return torch.nn.Identity()
    return CLASSES[name](**description["config"])

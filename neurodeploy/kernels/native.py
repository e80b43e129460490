"""Machine code from LLVM's intermediate language, compiled once per processor and kept on disk."""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import llvmlite.binding as llvm
from llvmlite import __version__

from neurodeploy.kernels.cache import cache_folder

_LOCK = Lock()
_LINKED: list[Any] = []  # what must live as long as its code may run
_SIGNED = 32  # bytes of a kept file that are the digest of the rest


@dataclass(frozen=True, eq=False)
class Function:
    """Compiled code, and where it is; `call` takes 64-bit integers, and needs no lock."""

    address: int
    call: Callable[..., None]

    def __call__(self, *arguments: int) -> None:
        """Call it."""
        self.call(*arguments)


def compiled(text: str, name: str, arguments: int) -> Function:
    """Return the function `name` of a module, of so many 64-bit integers."""
    with _LOCK:
        address = _address(text, name)
    return Function(address, ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(address))


@cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="small"
    )


@cache
def _engine() -> Any:
    return llvm.create_lljit_compiler(_machine())


@cache
def features() -> frozenset[str]:
    """Return the extensions of this processor, by LLVM's names."""
    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


@cache
def _address(text: str, name: str) -> int:
    key = "\0".join((text, llvm.get_host_cpu_name(), ",".join(sorted(features())), __version__))
    path = cache_folder() / "objects" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.o"
    code = _kept(path)
    if code is None:
        code = _object(text)
        _keep(path, code)
    parts = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    linked = parts.export_symbol(name).link(_engine(), f"{path.stem}-{len(_LINKED)}")
    _LINKED.append(linked)
    return int(linked[name])


def _object(text: str) -> bytes:
    """Compile: LLVM's usual passes, without those that look for vectors where they already are."""
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(_machine(), options)
    builder.getModulePassManager().run(module, builder)
    made: bytes = _machine().emit_object(module)
    return made


def _kept(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:_SIGNED], data[_SIGNED:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    """Write the file whole or not at all; a cache that cannot be written is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "wb", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            file.write(hashlib.sha256(code).digest() + code)
        Path(file.name).replace(path)
    except OSError:
        return

"""Where generated kernels live between processes.

Generated source is written once, under the digest of its text, so that numba's own on-disk cache
finds it in every later process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType


def cache_folder() -> Path:
    """Return $NEURODEPLOY_CACHE, or `neurodeploy` in the user's cache folder."""
    named = os.environ.get("NEURODEPLOY_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "neurodeploy"


def load(source: str) -> ModuleType:
    """Import generated source as a module; from a temporary folder if the cache is read-only."""
    name = "neurodeploy_kernel_" + hashlib.sha256(source.encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    try:
        path = _store(cache_folder() / "kernels", name, source)
    except OSError:
        path = _store(Path(tempfile.mkdtemp(prefix="neurodeploy-")), name, source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _store(home: Path, name: str, source: str) -> Path:
    path = home / f"{name}.py"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=home, suffix=".tmp", delete=False) as file:
            file.write(source)
        Path(file.name).replace(path)
    return path

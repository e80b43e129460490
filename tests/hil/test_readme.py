"""The README's commands print what the README says, and its Python runs.

Numbers may differ by a few percent between machines (float sums run in another order); words and
layout may not. A line of a single … stands for any lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?")


def examples():
    """Return (command, expected output) of every console block, in order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


@pytest.fixture
def place(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run(command, place):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=place,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def assert_alike(got, want):
    got_lines, want_lines = (
        [line.rstrip() for line in text.splitlines() if line.strip()] for text in (got, want)
    )
    assert [NUMBER.sub("#", " ".join(line.split())) for line in got_lines] == [
        NUMBER.sub("#", " ".join(line.split())) for line in want_lines
    ]
    for mine, theirs in zip(got_lines, want_lines, strict=True):
        pairs = zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True)
        for a, b in pairs:
            x, y = float(a.replace(",", "")), float(b.replace(",", ""))
            assert x == pytest.approx(y, rel=0.1, abs=1e-6), f"{mine!r} is not like {theirs!r}"


def test_the_tour_prints_what_it_says(place):
    """One test: each command reads what the one before it wrote."""
    assert len(examples()) > 5
    for command, output in examples():
        assert output, command
        assert_alike(run(command, place), output)


def test_the_python_example_runs(place):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (place / "example.py").write_text(code)
    run(f"{sys.executable} example.py", place)
    for name in ("model.pt", "program.onnx", "report.html"):
        assert (place / name).stat().st_size > 1000

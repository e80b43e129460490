"""How long the command line takes to answer: `neurodeploy --help`, and Python alone beside it.

    python benchmarks/cli.py [--runs 15]

The two are run in turn; medians are printed. The aim is an answer in under 0.2 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "neurodeploy --help": [sys.executable, "-m", "neurodeploy", "--help"],
    "neurodeploy compile --help": [sys.executable, "-m", "neurodeploy", "compile", "--help"],
}


def main() -> None:
    """Run each command several times and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:<28} {1000 * statistics.median(values[1:]):6.0f} ms")


if __name__ == "__main__":
    main()

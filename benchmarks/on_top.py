"""Let this Python find what another one has installed, behind what is installed here.

.venv-peers/bin/python benchmarks/on_top.py .venv/bin/python
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ASK = "import sysconfig; print(sysconfig.get_path('purelib'))"


def main() -> None:
    """Write a path file, which Python reads at every start."""
    asked = subprocess.run([sys.argv[1], "-c", ASK], check=True, capture_output=True, text=True)
    line = f"import site; site.addsitedir({asked.stdout.strip()!r})\n"
    Path(sysconfig.get_path("purelib"), "on_top.pth").write_text(line, "utf-8")


main()

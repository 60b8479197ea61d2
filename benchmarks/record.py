"""The figures of a benchmark as JSON, with the date, the commit and the machine of the measurement.

`benchmarks/results` holds one such file a benchmark. Every benchmark writes one with `--json FILE`. This module needs
the standard library only, as some benchmarks run without the project's other libraries.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from scl.errors import UserError
from scl.machine import cores, physical_memory
from scl.store.output import output_file


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments of a benchmark, with `json`: a new or a regular file for its figures, or None."""
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file, with date, commit and machine")
    parser.add_argument("--force", action="store_true", help="with --json: replace the file if it exists")
    given = parser.parse_args()
    try:
        given.json = given.json and output_file(given.json, given.force)
    except UserError as error:
        parser.error(f"--json {error}")
    return given


def record(name: str, figures: Any, path: Path | None, n: int) -> None:
    """Write a benchmark's figures as JSON; without a path, do nothing.

    Args:
        n: the number of measurements behind each figure.
    """
    if path is not None:
        about = {"benchmark": name, "date": datetime.date.today().isoformat(), "commit": commit(), "machine": machine()}
        text = json.dumps({**about, "n": n, "figures": figures}, indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


def commit() -> str | None:
    """The commit of this checkout, with `-dirty` if tracked files differ from it; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """What the figures depend on. load: of the last minute."""
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        names = []
    torch = sys.modules.get("torch")  # only a benchmark that has imported it can use a GPU
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": cores(),
        "memory_gb": round((physical_memory() or 0) / 1e9),
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "load": round(os.getloadavg()[0], 1),
        "bytecode_cached": not sys.dont_write_bytecode,  # if not, Python compiles each module at each start
    }

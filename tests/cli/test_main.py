"""A study file as a script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_configuration_and_flags_import_neither_torch_nor_ray() -> None:
    code = "import sys, scl.cli; print([m for m in ('torch', 'ray', 'plotly', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out.replace("'", '"')) == []


def test_a_study_file_with_a_misspelt_field_ends_with_code_2(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from scl import Config\nConfig(self_tought=3)\n")
    run = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.startswith("error: Config: unknown field 'self_tought'")

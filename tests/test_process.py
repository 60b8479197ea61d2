"""Importing scl and running a study leave the process as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import hashlib, logging, os, random, signal, sys
import numpy as np
import torch

def digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()

def state():
    return {
        "hook": sys.excepthook,
        "argv": list(sys.argv),
        "path": [path for path in sys.path if "ray/thirdparty_files" not in path],  # Ray adds it when it is imported
        "environment": dict(os.environ),
        "signals": {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)},
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch": digest(torch.get_rng_state().tolist()),
        "numpy": digest(np.random.get_state()[1].tolist()),
        "python": digest(random.getstate()),
        "default dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "levels": {name: logging.getLogger(name).level for name in ("", "ray.tune", "torch.onnx")},
    }

torch.set_num_threads(2)
torch.manual_seed(7)
before = state()
import scl
import scl.cli
import scl.run.run
import scl.run.ray.session
import scl.students.export
imported = state()
study = scl.Study(
    "leaves", "?",
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0, "sp": 1.0}}},
    base=scl.Config(model="plain3", width=0.0625, epochs=1, batch_size=32),
    teacher=scl.Config(model="plain3", width=0.0625, epochs=1, batch_size=32),
    seeds=1,
)
scl.run(study, limit=60, out=sys.argv[1], **{FLAGS})
after = state()
for when, now in (("import", imported), ("run", after)):
    for name, value in before.items():
        assert now[name] == value, (when, name, value, now[name])
"""


def _run(tmp_path: Path, flags: str) -> None:
    code = CODE.replace("{FLAGS}", flags)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_an_inline_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    _run(tmp_path, "{'inline': True}")


@pytest.mark.slow
def test_a_deterministic_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    _run(tmp_path, "{'inline': True, 'deterministic': True}")


@pytest.mark.slow  # tests/run/ray/test_session.py checks a session in this process
def test_a_run_on_a_local_ray_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    _run(tmp_path, "{}")

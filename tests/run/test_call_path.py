"""From `scl.run` to a loss: few calls, and the ones that docs/design.md names."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

import torch

import scl

PACKAGE = Path(scl.__file__).parent


@functools.lru_cache
def paths() -> list[list[str]]:
    """A list for notes: a loss may not change variables of its module."""
    return []


def watched(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """A custom loss that notes the calls above it, from the outermost."""
    frames = [frame for frame in inspect.stack() if Path(frame.filename).is_relative_to(PACKAGE)]
    files = [Path(frame.filename).relative_to(PACKAGE).as_posix() for frame in frames]
    if "train/loop.py" in files and not paths():  # in training, not in the rehearsal before it
        paths().append([f"{file}:{frame.function}" for file, frame in zip(files[::-1], frames[::-1], strict=True)])
    return (student - teacher).square().mean()


def test_a_step_is_at_most_five_calls_below_scl_run(tmp_path: Path) -> None:
    study = scl.Study(
        "path",
        "?",
        arms={
            "baseline": {},
            "mine": {"losses": {"mine": scl.Term(1.0, loss=watched, compares="logits", version="1")}},
        },
        base=scl.Config(model="plain3", width=0.0625, epochs=1, batch_size=32),
        teacher=scl.Config(model="plain3", width=0.0625, epochs=1, batch_size=32),
        seeds=1,
    )
    paths().clear()
    # A size that is given needs no timing of steps, which would call the loss before training does.
    scl.run(study, limit=60, inline=True, out=tmp_path, cohort_size=2)
    (path,) = paths()
    start, step = path.index("api.py:run"), path.index("train/student.py:step")
    between = path[start + 1 : step]
    assert len(between) <= 5, between
    design = (PACKAGE.parent / "docs" / "design.md").read_text()
    assert " → ".join(f"`{name.partition(':')[2]}`" for name in path[start : step + 1]) in design

"""The interface of a tracker's tool, and the trial that is shown in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from scl.errors import UserError, how_to_install

LONGEST_NAME = 100  # characters; W&B takes 128 for a run's name with its seed, a disk 255 bytes for a folder's


@dataclass(frozen=True)
class TrackedTrial:
    """A trial before its first epoch. params: its configuration, ids and costs, by column name without `param.`."""

    trial_id: str
    study: str
    arm: str
    seed: int
    params: Mapping[str, Any]

    @property
    def short_arm(self) -> str:
        """The arm, cut to a length that is a name in every tool and on every disk; the full one is among the tags."""
        return self.arm if len(self.arm) <= LONGEST_NAME else f"{self.arm[: LONGEST_NAME - 1]}…"

    @property
    def name(self) -> str:
        return f"{self.short_arm} · seed {self.seed}"


@dataclass(frozen=True)
class Logged:
    """Values of an epoch. at: when they were measured, in seconds since 1970."""

    step: int
    values: Mapping[str, float]
    at: float


class Tool(Protocol):
    """The client of a tool. `run` is what `start` returned. After it is made, one thread alone uses it."""

    def start(self, trial: TrackedTrial) -> Any:
        """Start the trial's run, or continue the run of an earlier start."""

    def log(self, run: Any, rows: Sequence[Logged]) -> None:
        """Add the values of epochs, in as few calls of a server as it takes."""

    def attach(self, run: Any, name: str, content: bytes) -> None:
        """Add a file to a run; nothing if the tool keeps no files."""

    def attach_page(self, content: bytes) -> None:
        """Add the study's page, or replace it; nothing if the tool keeps no files."""

    def end(self, run: Any, state: str, error: str | None, values: Mapping[str, float]) -> None:
        """End a run: completed, pruned, failed, or stopped, after which it may continue."""


def imported(name: str, module: str) -> Any:
    """A module of the tool `name`. Raises UserError if it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"--track {name}: {error.name} is not installed; {how_to_install(name)}") from None

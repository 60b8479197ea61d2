"""The backend that trains on Ray: a local one, or a running cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from scl.errors import UserError
from scl.plan.capacity import Node
from scl.plan.plan import Plan
from scl.run.backend import Backend, Work
from scl.run.ray.session import ray_session
from scl.run.ray.survey import survey
from scl.run.stopping import GRACE_ON_RAY, Stop
from scl.run.trackers.tracker import Tracker
from scl.search.driver import SearchDriver
from scl.shadows import hiding
from scl.study.checks import RAY_CLIENT
from scl.study.options import Options


class RayBackend:
    """Trains cohorts in Ray's workers. A context manager: Ray starts with the first cohort and ends at the exit.

    inline: trains what a worker would take longer to start for.
    """

    def __init__(self, options: Options, stop: Stop, tracker: Tracker, inline: Backend) -> None:
        self.options, self.stop, self.tracker, self.inline = options, stop, tracker, inline
        self._nodes: Sequence[Node] = ()
        self._session = ExitStack()
        self._started = False

    def __enter__(self) -> Self:
        """Raises UserError if the current folder hides scl, or a module that it needs, from Ray's workers."""
        if not str(self.options.address).startswith(RAY_CLIENT):  # a client's folder is not searched
            check_current_folder()
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def nodes(self) -> Sequence[Node]:
        """The nodes of the cluster at `--address`, asked once; none for a local Ray. Raises UserError as `survey`."""
        if self.options.address and not self._nodes:
            self._nodes = survey(self.options.address)
        return self._nodes

    def train(self, plan: Plan, work: Work) -> None:
        only_teacher = not work.jobs and len(work.cohorts) == 1
        if only_teacher and self.options.address is None and plan.context.device == "cpu":
            self.inline.train(plan, work)
        else:
            self._on_ray(lambda runs: runs.train(plan, work))

    def search(self, plan: Plan, searcher: SearchDriver) -> None:
        self._on_ray(lambda runs: runs.search(plan, searcher))

    def _on_ray(self, run: Callable[[Any], None]) -> None:
        with self.stop.overdue_raises(GRACE_ON_RAY):
            if not self._started:
                self._start()
            if not self.stop():
                # Imported here because it imports Ray, whose environment the session sets first.
                run(import_module("scl.run.ray.runs").Runs(self.stop, self.tracker, self.nodes()))

    def _start(self) -> None:
        try:
            self._session.enter_context(ray_session(self.options, self.nodes()))
        except SystemExit:  # Ray's answer to SIGTERM while it starts
            self.stop.ask()
            self.stop.overdue = True
            raise
        self._started = True


def check_current_folder() -> None:
    """Raise UserError if the current folder, which Ray's workers search first, hides scl or a module that it needs."""
    folder, running = Path.cwd(), Path(__file__).resolve().parents[2]
    others = [p for p in (folder / "scl", folder / "scl.py") if p.is_file() or (p / "__init__.py").is_file()]
    message = next((f"{p} hides the scl that runs here, {running}" for p in others if p.resolve() != running), None)
    message = message or hiding([str(folder)])
    if message:
        raise UserError(
            f"Ray's workers search the current folder first, and there {message}; start in another folder, or run with "
            "--inline"
        )

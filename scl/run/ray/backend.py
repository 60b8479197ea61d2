"""The backend that trains on Ray: a local one, or a running cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from scl.errors import RunFailed, UserError, first_line
from scl.plan.capacity import Node
from scl.plan.plan import Plan
from scl.run.backend import Backend, Work
from scl.run.live import Live
from scl.run.ray.folding import Folding
from scl.run.ray.session import RaySession, ray_session
from scl.run.ray.survey import survey
from scl.run.ray.watch import watching
from scl.run.stopping import GRACE_ON_RAY, Stop
from scl.run.trackers.tracker import Tracker
from scl.search.driver import SearchDriver
from scl.shadows import hiding
from scl.study.checks import RAY_CLIENT
from scl.study.options import Options

WITHOUT_RAY = "remove the cause, or train without Ray in this process: --inline"


def is_rays(error: BaseException) -> bool:
    """True for an error of Ray itself, or of the connection to it; not for one of ours that Ray passes on."""
    kinds = [kind for kind in type(error).__mro__ if kind.__module__.startswith("ray.")]
    return isinstance(error, ConnectionError) or bool(kinds and "RayTaskError" not in {k.__name__ for k in kinds})


class RayBackend:
    """Trains cohorts in Ray's workers. A context manager: Ray starts with the first cohort and ends at the exit.

    inline: trains what a worker would take longer to start for.
    """

    def __init__(self, options: Options, stop: Stop, tracker: Tracker, live: Live, inline: Backend) -> None:
        self.options, self.stop, self.tracker, self.live, self.inline = options, stop, tracker, live, inline
        self._nodes: Sequence[Node] = ()
        self._session = ExitStack()
        self._ray = RaySession()
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
            self.live.stage(f"asking the cluster at {self.options.address} what its nodes have")
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
                folding = Folding()
                runs = import_module("scl.run.ray.runs").Runs(self.stop, self.tracker, self.live, self.nodes(), folding)
                try:
                    with watching(self.stop.abandon):
                        self._apart(lambda: run(runs))
                finally:
                    folding.close()

    def _apart(self, run: Callable[[], None]) -> None:
        """Run in a thread of its own, since calls of Ray cannot be interrupted if its head is gone. A thread that is
        left so takes its Ray with it."""
        errors: list[BaseException] = []

        def work() -> None:
            try:
                run()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while thread.is_alive() and not self.stop.lost:
                thread.join(0.1)
        finally:
            if self.stop.lost or thread.is_alive():
                self._ray.abandoned = True
                self._session.close()
        if errors and not self.stop.lost:
            if not is_rays(errors[0]):
                raise errors[0]
            self._ray.abandoned = True
            self._session.close()
            self.stop.abandon(f"Ray has ended ({type(errors[0]).__name__}: {first_line(errors[0])}): {WITHOUT_RAY}")

    def _start(self) -> None:
        """Start Ray. If it cannot start, the run halts."""
        address = self.options.address
        self.live.stage("starting Ray on this machine" if address is None else f"connecting to Ray at {address}")
        try:
            self._ray = self._session.enter_context(ray_session(self.options, self.nodes()))
        except SystemExit as end:
            # Ray's answer to SIGTERM while it starts, which the run has heard too.
            self.stop.overdue = end.code == signal.SIGTERM
            raise
        except (UserError, RunFailed):
            raise
        except Exception as error:
            what = "Ray cannot start" if address is None else f"{address} cannot be used"
            self.stop.halt(f"{what} ({type(error).__name__}: {first_line(error)}): {WITHOUT_RAY}")
            return
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

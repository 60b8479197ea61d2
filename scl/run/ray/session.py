"""A Ray session for the length of a run: a local Ray, or a connection to a running cluster."""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from scl.errors import UserError, first_line
from scl.machine import cores, gpu_parts
from scl.plan.capacity import Node
from scl.run.ray import tokens
from scl.run.ray.survey import connect, packages_to_send
from scl.run.ray.temporary import ray_folder
from scl.run.stopping import LEFT_RUNNING
from scl.study.config import Config
from scl.study.options import Options
from scl.study.users import is_users
from scl.train.process import environment

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the store says what is finished, not Tune's state
    "RAY_AIR_NEW_OUTPUT": "0",
}
# Constants of Ray → their variables. Ray reads the variables when it is first imported, and so do its processes.
# Under `uv run`, Ray would start each worker through uv, in a copy of the folder.
UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "RAY_ENABLE_UV_RUN_RUNTIME_ENV"}
# While clusters are enabled, Ray takes 127.0.0.1 for a mistake and listens on all addresses instead.
CLUSTERS = {"ENABLE_RAY_CLUSTER": "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
# Ray and Tune install handlers of these.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


@dataclass
class RaySession:
    """abandoned: whether Ray is gone or in use to the last, so that it is ended by its processes alone. started: ids of
    the processes of a local Ray that this process has started."""

    abandoned: bool = False
    started: list[int] = field(default_factory=list)


@contextmanager
def ray_session(options: Options, nodes: Sequence[Node]) -> Iterator[RaySession]:
    """Start a local Ray that listens on 127.0.0.1 only, or connect to the cluster at `options.address`.

    At the end Ray is shut down, and the process's environment variables, signal handlers, log levels and
    `sys.excepthook` are as they were before.

    Args:
        nodes: of the cluster, as `survey` returns them; none for a local Ray.

    Raises:
        UserError: this process uses Ray already.
    """
    local, session = options.address is None, RaySession()
    off = {**({} if UV.keys() & os.environ.keys() else UV), **(CLUSTERS if local else {})}
    own = {**QUIET, **(tokens.of_local_session() if local else {})}
    defaults = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **({} if local else tokens.of_cluster())}
    with environment(own, defaults), _handlers_restored() as restore_handlers, _log_levels_restored():
        import ray  # only now, since it reads the mode of authentication at its import  # noqa: PLC0415

        if ray.is_initialized():
            raise UserError("Ray already runs in this process; call ray.shutdown() first, or run inline")
        tokens.read_anew()
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it prints a trace for each lost worker
        try:
            try:
                with _switched_off(off):
                    _start(options, nodes, session.started)
            except (SystemExit, KeyboardInterrupt):
                LEFT_RUNNING.set()  # threads of a Ray that has half started may crash at the end of this process
                raise
            finally:
                # Ray's own handler would end the driver at SIGTERM before the driver has stored anything.
                restore_handlers()
            for module in users_modules():
                ray.cloudpickle.register_pickle_by_value(module)
            yield session
        finally:
            _shut_down(session)


def check_travels(configs: Iterable[Config]) -> None:
    """Raises UserError if a loss or network of the user's cannot be sent to workers, because it holds, say, a lock."""
    import ray  # noqa: PLC0415

    code: dict[int, tuple[str, Any]] = {}
    for config in configs:
        things = [(f"loss {name!r}", term.loss) for name, term in config.losses.items()]
        things.append((f"network {config.model_name}", config.model))
        code |= {id(thing): (whose, thing) for whose, thing in things if callable(thing)}
    for whose, thing in code.values():
        try:
            ray.cloudpickle.dumps(thing)
        except Exception as error:  # an object of the user's may raise anything
            raise UserError(
                f"{whose} cannot be sent to Ray's workers ({type(error).__name__}: {first_line(error)}); make what it "
                "holds where it is used, inside a function, or train in this process: --inline"
            ) from error


@contextmanager
def _switched_off(constants: Mapping[str, str]) -> Iterator[None]:
    """Switch features of Ray off, by its constants and by the variables of these."""
    from ray._private import ray_constants  # noqa: PLC0415

    before = {name: getattr(ray_constants, name) for name in constants}
    try:
        for name in constants:
            setattr(ray_constants, name, False)
        with environment(dict.fromkeys(constants.values(), "0")):
            yield
    finally:
        for name, value in before.items():
            setattr(ray_constants, name, value)


def _start(options: Options, nodes: Sequence[Node], started: list[int]) -> None:
    import ray  # noqa: PLC0415

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if options.address is None:
        room = {"num_cpus": max(cores(), options.cpus_per_trial), "num_gpus": gpu_parts() or None}  # None: Ray counts
        place = {"_temp_dir": ray_folder(), "_node_ip_address": "127.0.0.1"}
        with _own_sessions(started), _heard_first():
            ray.init(address="local", include_dashboard=False, **room, **place, **quiet)
    else:
        # The code travels with the job: scl and small packages as folders, the study file's own code by value.
        runtime_env = {"py_modules": packages_to_send(nodes), "env_vars": dict(QUIET)}
        with _heard_first():
            connect(options.address, runtime_env=runtime_env, **quiet)


@contextmanager
def _heard_first() -> Iterator[None]:
    """While Ray starts, this process's own handler hears SIGTERM before Ray's, which raises SystemExit: Python drops an
    exception that is raised in a destructor or in a hook of a fork, and Ray forks as it starts. An ignored signal stays
    ignored."""
    from ray._private import utils  # noqa: PLC0415

    install, own = utils.set_sigterm_handler, signal.getsignal(signal.SIGTERM)

    def both(rays: Callable[[int, Any], None]) -> None:
        def handler(number: int, frame: Any) -> None:
            if callable(own):
                own(number, frame)
            rays(number, frame)

        if own != signal.SIG_IGN:
            install(handler)

    utils.set_sigterm_handler = both
    try:
        yield
    finally:
        utils.set_sigterm_handler = install


@contextmanager
def _own_sessions(started: list[int]) -> Iterator[None]:
    """Start Ray's processes in sessions of their own: a signal to this process's group, or its terminal's end, must not
    reach them before this process has ended the run. Only where the kernel ends them with this process.

    started: gets their ids.
    """
    from ray._private import services, utils  # noqa: PLC0415

    popen = services.ConsolePopen
    apart = {"start_new_session": True} if utils.detect_fate_sharing_support_linux() else {}

    def start(*arguments: Any, **options: Any) -> Any:
        process = popen(*arguments, **apart, **options)
        started.append(process.pid)
        return process

    services.ConsolePopen = start
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextmanager
def _handlers_restored() -> Iterator[Callable[[], None]]:
    """Restore signal handlers, `sys.excepthook` and faulthandler; yields a function that restores the first now."""
    hook, faults = sys.excepthook, faulthandler.is_enabled()
    main = threading.current_thread() is threading.main_thread()  # elsewhere Python refuses to set handlers
    before = {s: signal.getsignal(s) for s in SIGNALS} if main else {}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python, so Python cannot restore it
                signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()
        sys.excepthook = hook
        if not faults:
            faulthandler.disable()


@contextmanager
def _log_levels_restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    before = [logger.level for logger in loggers]
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _shut_down(session: RaySession) -> None:
    """End Ray. A local raylet may miss the end of processes that it started last, and would wait a minute for them; if
    it was killed, they go on without it."""
    import psutil  # Ray depends on it  # noqa: PLC0415
    import ray  # noqa: PLC0415
    from ray._private import worker  # noqa: PLC0415

    started = session.started
    below = [process for process in psutil.process_iter() if _below(process, started)]
    if session.abandoned:
        LEFT_RUNNING.set()
        atexit.unregister(worker.shutdown)  # as calls of Ray, it may never return
    else:
        ray.shutdown()
    for process in psutil.Process().children():  # a signal may have ended a start before Ray knew of them
        if process.pid in started:
            process.kill()
    for process in psutil.wait_procs(below, timeout=0 if session.abandoned else 2)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _below(process: Any, started: Collection[int]) -> bool:
    """True for a process that one of those `started` has started: its session is theirs, also when they are gone."""
    if process.pid in started:
        return False
    with suppress(OSError):
        return os.getsid(process.pid) in started or process.ppid() in started
    return False


def users_modules() -> list[ModuleType]:
    """Imported modules that are the user's own files. Workers do not have them, so their objects travel by value."""
    return [m for name, m in list(sys.modules.items()) if name == m.__name__ != "__main__" and is_users(m)]

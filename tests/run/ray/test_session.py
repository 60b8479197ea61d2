"""A Ray session: what it changes in the process, and that all of it is put back."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from typing import Any

import pytest

from scl.errors import UserError
from scl.run.ray.rpc import rpc_to_driver
from scl.run.ray.session import SIGNALS, ray_session, users_modules
from scl.run.ray.slots import has_other_hosts, living_nodes
from scl.study.options import Options


def state() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "handlers": [signal.getsignal(s) for s in SIGNALS],
        "levels": [logging.getLogger(name).level for name in ("ray", "ray.tune")],
        "hook": sys.excepthook,
        "faulthandler": faulthandler.is_enabled(),
    }


def test_a_local_session_serves_calls_and_leaves_the_process_as_it_was() -> None:
    import ray

    def times(client: Any, n: int) -> Any:
        return client("times", n)

    before = state()
    with ray_session(Options(), ()):
        assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
        assert [signal.getsignal(s) for s in SIGNALS] == before["handlers"]
        assert [node.host for node in living_nodes()] == ["127.0.0.1"]
        assert not has_other_hosts()
        with pytest.raises(UserError, match="Ray already runs in this process"), ray_session(Options(), ()):
            pass
        with rpc_to_driver({"times": lambda n: 7 * n if n else 1 / 0}) as client:
            call = ray.remote(num_cpus=0)(times)
            assert ray.get([call.remote(client, n) for n in (1, 2, 3)]) == [7, 14, 21]
            with pytest.raises(ZeroDivisionError):
                ray.get(call.remote(client, 0))
    assert not ray.is_initialized()
    assert state() == before


def test_modules_of_users_travel_by_value() -> None:
    names = {module.__name__ for module in users_modules()}
    assert "scl.run.ray.session" not in names
    assert "ray" not in names
    assert any(name.endswith("test_session") for name in names)

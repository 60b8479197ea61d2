"""How many cohorts fit on a cluster, and waiting for nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scl.errors import UserError
from scl.plan.capacity import Node
from scl.run.ray import slots
from scl.run.ray.survey import PATIENCE

HEAD = Node("head", {}, {})
SURVEYED = (Node("a", {"CPU": 1.0}, {}), Node("b", {"CPU": 1.0}, {}))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A cluster with the nodes of `moments`, one list after the other; the last remains. `time` is its clock."""
    made = SimpleNamespace(moments=[], time=0.0)

    def living() -> list[Node]:
        return made.moments.pop(0) if len(made.moments) > 1 else made.moments[0]

    def sleep(seconds: float) -> None:
        made.time += seconds

    monkeypatch.setattr(slots, "living_nodes", living)
    monkeypatch.setattr(slots, "time", SimpleNamespace(monotonic=lambda: made.time, sleep=sleep))
    return made


def slots_now(stopped: bool = False, **options: Any) -> int:
    asked: Any = SimpleNamespace(
        **{"address": "10.0.0.1:6379", "cpus_per_trial": 1, "gpus_per_trial": None, "max_concurrent": None, **options}
    )
    return slots.cluster_slots(asked, "cpu", SURVEYED, lambda: stopped)


def test_nodes_that_left_are_waited_for(cluster: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.moments = [[HEAD], [HEAD], [HEAD, Node("c", {"CPU": 3.0}, {})]]
    assert slots_now() == 3
    assert "waiting for nodes" in capsys.readouterr().err


def test_nodes_that_stay_away_are_an_error(cluster: SimpleNamespace) -> None:
    cluster.moments = [[HEAD]]
    with pytest.raises(UserError, match=r"the nodes have 0 and 0; .* or start more nodes"):
        slots_now()
    assert cluster.time >= PATIENCE
    assert slots_now(stopped=True) == 1


def test_nodes_that_never_had_room_are_not_waited_for(cluster: SimpleNamespace) -> None:
    cluster.moments = [[Node("a", {"CPU": 1.0}, {})]]
    with pytest.raises(UserError, match="needs 2 CPUs and 0 GPUs on one node, the nodes have 1 and 0"):
        slots_now(cpus_per_trial=2)
    assert cluster.time == 0


def test_a_bound_lowers_the_slots(cluster: SimpleNamespace) -> None:
    cluster.moments = [[Node("a", {"CPU": 8.0}, {})]]
    assert (slots_now(), slots_now(max_concurrent=3), slots_now(max_concurrent=20)) == (8, 3, 8)


@pytest.mark.parametrize(("hosts", "others"), [(["10.0.0.1"], False), (["10.0.0.1", "10.0.0.2"], True)])
def test_other_hosts(hosts: list[str], others: bool, cluster: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.1")
    cluster.moments = [[Node(host, {}, {}) for host in hosts]]
    assert slots.has_other_hosts() is others

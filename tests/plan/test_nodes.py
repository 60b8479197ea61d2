"""Nodes of a cluster, and how many cohorts fit on them."""

from __future__ import annotations

import pytest

from scl.plan.nodes import Node, slots_on


def node(cpus: float, gpus: float = 0) -> Node:
    return Node("10.0.0.7", {"CPU": cpus, "GPU": gpus}, {})


@pytest.mark.parametrize(
    ("cluster_of", "cpus", "gpus", "room"),
    [
        ([node(4), node(2)], 1, 0.0, 6),
        ([node(3), node(3)], 2, 0.0, 2),  # a cohort runs on one node
        ([node(16, 2)], 1, 0.25, 8),
        ([node(16, 2)], 1, 0.6, 2),  # and its share of a GPU lies on one GPU
        ([node(16, 3)], 1, 2.0, 1),
        ([node(2, 2)], 1, 0.25, 2),
        ([node(2)], 1, 1.0, 0),
    ],
)
def test_slots_on_nodes(cluster_of: list[Node], cpus: int, gpus: float, room: int) -> None:
    assert slots_on(cluster_of, cpus, gpus) == room

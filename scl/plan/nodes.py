"""Nodes of a cluster, and how many cohorts fit on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A node of a cluster.

    host: its address. resources: CPU, GPU, … → how many. versions: of Python and of packages; None if not installed.
    """

    host: str
    resources: Mapping[str, float]
    versions: Mapping[str, str | None]


def slots_on(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    """Cohorts that fit on these nodes at once; a share of a GPU lies on one GPU."""

    def on(node: Node) -> int:
        room = int(node.resources.get("CPU", 0) // cpus)
        if gpus:
            have = node.resources.get("GPU", 0.0)
            room = min(room, int(have // gpus) if gpus >= 1 else int(have) * math.floor(1 / gpus + 1e-9))
        return room

    return sum(map(on, nodes))

"""How many cohorts run at once on the cluster that this process is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import ray

from scl.errors import UserError
from scl.plan.capacity import Node, gpus_of_cohort, slots_on
from scl.run.ray.survey import PATIENCE
from scl.study.options import Options
from scl.terminal import say


def cluster_slots(options: Options, device: str, surveyed: Sequence[Node], stop: Callable[[], bool]) -> int:
    """Cohorts that fit on the cluster's nodes at once, or fewer with --max-concurrent.

    If no cohort fits now but one would on the surveyed nodes, wait for nodes: clusters replace those that left.

    Raises:
        UserError: no cohort fits.
    """
    cpus, gpus = options.cpus_per_trial, gpus_of_cohort(options, device)
    nodes = living_nodes()
    if not slots_on(nodes, cpus, gpus) and slots_on(surveyed, cpus, gpus):
        say(f"waiting for nodes: those of {options.address} that had room are gone")
        until = time.monotonic() + PATIENCE
        while not slots_on(nodes, cpus, gpus) and not stop() and time.monotonic() < until:
            time.sleep(1)
            nodes = living_nodes()
    slots = slots_on(nodes, cpus, gpus)
    if not slots and not stop():
        have = [f"{n.resources.get('CPU', 0):g} and {n.resources.get('GPU', 0):g}" for n in nodes]
        raise UserError(
            f"a cohort needs {cpus} CPUs and {gpus:g} GPUs on one node, the nodes have {', '.join(have)}; "
            "lower --cpus-per-trial or --gpus-per-trial, or start more nodes"
        )
    slots = max(1, slots)
    return min(slots, options.max_concurrent or slots)


def living_nodes() -> list[Node]:
    return [Node(n["NodeManagerAddress"], n["Resources"], {}) for n in ray.nodes() if n["Alive"]]


def has_other_hosts() -> bool:
    """True if the cluster has a host beside this one, which may not see the folders of this one."""
    here = ray.util.get_node_ip_address()
    return any(node.host != here for node in living_nodes())

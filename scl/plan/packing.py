"""Which trials train side by side, and in which order, so that all slots end together."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from scl.machine import physical_memory
from scl.plan.capacity import cohorts_on_a_gpu, gpus_of_cohort
from scl.plan.plan import Plan
from scl.study.identity import Trial

MOST = 32  # trials of a cohort, unless --cohort-size says otherwise


def cohorts(
    todo: Sequence[Trial],
    slots: int,
    size: int | None,
    teacher_cost: float,
    cost: Callable[[Trial], float],
    most: int = MOST,
) -> list[list[Trial]]:
    """Trials that see the same batches, side by side, longest cohorts first.

    Args:
        slots: cohorts that run at once.
        size: largest cohort; None chooses so that the slots end at about the same time, with as few cohorts as that
            allows, since each cohort pays for the teacher once.
        most: largest cohort if `size` is None: bounded by memory, and by MOST, beyond which the teacher's share is
            small.
        teacher_cost, cost: work of the teacher for one cohort, and of one trial's steps, in the same unit.
    """
    groups: dict[tuple[Any, ...], list[Trial]] = defaultdict(list)
    for trial in todo:
        groups[stream_of(trial)].append(trial)

    def total(cohort: list[Trial]) -> float:
        return teacher_cost + sum(map(cost, cohort))

    def cut(group: list[Trial], pieces: int, largest: int) -> list[list[Trial]]:
        """Into pieces of about equal cost and at most `largest` trials, each in the plan's order."""
        heap: list[tuple[float, int, list[Trial]]] = [(0.0, i, []) for i in range(min(pieces, len(group)))]
        full = []
        for trial in sorted(group, key=cost, reverse=True):
            load, i, piece = heapq.heappop(heap)
            grown = (load + cost(trial), i, [*piece, trial])
            if len(piece) + 1 < largest:
                heapq.heappush(heap, grown)
            else:
                full.append(grown)
        order = {trial.trial_id: i for i, trial in enumerate(group)}
        return [sorted(piece, key=lambda c: order[c.trial_id]) for _, _, piece in sorted([*heap, *full])]

    whole = sorted(groups.values(), key=total, reverse=True)
    if size is not None:
        plan = [piece for group in whole for piece in cut(group, -(-len(group) // size), size)]
        return sorted(plan, key=total, reverse=True)

    # As many whole groups as fill all slots evenly; the rest is cut into so many pieces that all end together.
    whole = [piece for group in whole for piece in cut(group, -(-len(group) // most), most)]
    even = len(whole) // slots * slots
    candidates = [
        whole[:even] + [piece for group in whole[even:] for piece in cut(group, pieces, most)]
        for pieces in range(1, min(slots, max(map(len, whole), default=1)) + 1)
    ]
    best = min(candidates, key=lambda plan: (makespan([total(c) for c in plan], slots), len(plan)))
    return sorted(best, key=total, reverse=True)


def stream_of(trial: Trial) -> tuple[Any, ...]:
    """What trials have in common that see the same batches under the same teacher."""
    return (trial.teacher_id, *trial.config.stream(trial.seed))


def makespan(costs: Sequence[float], slots: int) -> float:
    """When the last slot ends if each takes the longest remaining cohort as soon as it is free."""
    ends = [0.0] * slots
    for one in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)


def plan_cohorts(plan: Plan, todo: Sequence[Trial]) -> list[list[Trial]]:
    """Cohorts that end together, by the time of a step of each configuration and of the teacher's forward here.

    With one slot, or a given size, only the order depends on it: multiply-accumulates suffice, with three forwards for
    a student's step and one for the teacher's.
    """
    configs = {c.config_id: c.config for c in todo}
    epochs = max(c.config.total_epochs for c in todo)
    if plan.slots == 1 or plan.options.cohort_size is not None:
        own = {key: 3.0 * plan.feasibility.macs(config) for key, config in configs.items()}
        forward = float(plan.feasibility.teacher_macs)
    else:
        own = {key: s / configs[key].batch_size for key, s in plan.feasibility.probe.step_seconds(configs).items()}
        forward = plan.feasibility.probe.teacher_seconds(1)
    size = plan.options.cohort_size
    most = min(MOST, room(plan, todo))
    return cohorts(
        todo, plan.slots, size, forward * epochs, lambda t: own[t.config_id] * t.config.total_epochs, most=most
    )


def room(plan: Plan, todo: Sequence[Trial]) -> int:
    """Students of a cohort who fit into half of the memory of this machine or its GPU, with what their losses keep; the
    other half is for their steps. The memory of a cluster's nodes is not known here: there a cohort that does not fit
    is halved."""
    if plan.options.address:
        return MOST
    cohorts_at_once = plan.slots
    if plan.feasibility.probe.device.type == "cuda":
        total, share = torch.cuda.mem_get_info()[1], gpus_of_cohort(plan.options, "cuda")
        if share:  # else all share one GPU
            cohorts_at_once = min(cohorts_at_once, cohorts_on_a_gpu(share))
    else:
        memory = physical_memory()
        if memory is None:
            return MOST
        total = memory
    largest = max(plan.feasibility.memory(trial.config) for trial in todo)
    return max(1, int(total / 2 / cohorts_at_once / largest))

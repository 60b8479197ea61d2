"""The device of a run, and how many cohorts train at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scl.errors import UserError
from scl.plan import capacity
from scl.plan.capacity import Node, check_threads, device_of, gpus_of_cohort, slots_of, slots_on
from scl.study.options import Options


def nodes(*resources: tuple[float, float]) -> list[Node]:
    """Nodes with so many CPUs and GPUs each."""
    return [Node(f"10.0.0.{i}", {"CPU": cpus, "GPU": gpus}, {}) for i, (cpus, gpus) in enumerate(resources)]


@pytest.mark.parametrize(
    ("options", "cluster", "gpu_here", "device"),
    [
        ({}, [], False, "cpu"),
        ({}, [], True, "cuda"),
        ({"device": "cpu"}, [], True, "cpu"),
        ({"device": "cuda"}, [], True, "cuda"),
        ({"gpus_per_trial": 0.5}, [], True, "cuda"),
        ({"gpus_per_trial": 0.0}, [], False, "cpu"),
        ({"gpus_per_trial": 0.0}, [], True, "cuda"),  # a share of 0 says nothing of the device here
        ({"address": "auto"}, [(4, 0), (4, 2)], False, "cuda"),
        ({"address": "auto"}, [(4, 0), (4, 0)], True, "cpu"),  # this machine does not train
        ({"address": "auto", "gpus_per_trial": 0.0}, [(4, 2)], True, "cpu"),
        ({"address": "auto", "gpus_per_trial": 0.5}, [(4, 0)], False, "cuda"),
        ({"address": "auto", "device": "cuda"}, [(4, 0)], False, "cuda"),
        ({"address": "auto", "device": "cpu"}, [(4, 2)], True, "cpu"),
    ],
)
def test_the_device_of_a_run(
    options: dict[str, Any],
    cluster: list[tuple[float, float]],
    gpu_here: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu_here)
    assert device_of(Options(**options), nodes(*cluster)) == device


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "--device cuda: torch finds no CUDA device on this machine; valid here: auto, cpu"),
        ({"gpus_per_trial": 0.5}, "--gpus-per-trial 0.5: torch finds no CUDA device on this machine; valid here: 0"),
    ],
)
def test_a_gpu_that_is_not_here_is_refused(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        device_of(Options(**options), [])
    assert device_of(Options(**options, address="auto"), nodes((4, 0))) == "cuda"  # the cluster may get one


def test_gpus_that_ray_counts_on_nodes_without_a_driver_are_refused() -> None:
    without = [Node("10.0.0.1", {"CPU": 4, "GPU": 1}, {}, driver=False), Node("10.0.0.2", {"CPU": 4}, {}, driver=False)]
    for given in ({}, {"gpus_per_trial": 1.0}, {"device": "cuda"}):
        with pytest.raises(UserError, match=r"Ray counts GPUs on 10\.0\.0\.1, but no driver .* or give --device cpu"):
            device_of(Options(**given, address="auto"), without)
    assert device_of(Options(device="cpu", address="auto"), without) == "cpu"
    assert device_of(Options(address="auto"), [*without, Node("10.0.0.3", {"GPU": 1}, {})]) == "cuda"


@pytest.mark.parametrize(("given", "fits"), [(2.0, True), (3.0, False), (1.0, True), (0.5, True)])
def test_more_gpus_than_this_machine_has_are_refused(given: float, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if fits:
        assert device_of(Options(gpus_per_trial=given), []) == "cuda"
    else:
        with pytest.raises(UserError, match="--gpus-per-trial 3: this machine has 2; give at most that"):
            device_of(Options(gpus_per_trial=given), [])


@pytest.mark.parametrize(
    ("options", "cluster", "device", "slots"),
    [
        ({}, [], "cpu", 8),
        ({"cpus_per_trial": 3}, [], "cpu", 2),
        ({"cpus_per_trial": 8}, [], "cpu", 1),
        ({"max_concurrent": 3}, [], "cpu", 3),
        ({"max_concurrent": 30}, [], "cpu", 8),
        ({"inline": True}, [], "cpu", 1),
        ({"inline": True, "max_concurrent": 5}, [], "cpu", 1),
        ({}, [], "cuda", 2),  # one GPU each
        ({"gpus_per_trial": 0.5}, [], "cuda", 4),
        ({"gpus_per_trial": 0.5, "cpus_per_trial": 3}, [], "cuda", 2),
        ({"gpus_per_trial": 0.1}, [], "cuda", 8),
        ({"gpus_per_trial": 2.0}, [], "cuda", 1),
        ({"gpus_per_trial": 0.0}, [], "cuda", 8),
        ({"gpus_per_trial": 0.5, "max_concurrent": 3}, [], "cuda", 3),
        ({"address": "auto"}, [(4, 0), (3, 0)], "cpu", 7),
        ({"address": "auto", "cpus_per_trial": 2}, [(4, 0), (3, 0)], "cpu", 3),
        ({"address": "auto"}, [(16, 2), (16, 1)], "cuda", 3),  # one GPU each
        ({"address": "auto", "gpus_per_trial": 0.25}, [(16, 2), (16, 1)], "cuda", 12),
        ({"address": "auto", "gpus_per_trial": 0.25, "max_concurrent": 5}, [(16, 2)], "cuda", 5),
        # No node can take a cohort now: one slot to plan with.
        ({"address": "auto"}, [(4, 0)], "cuda", 1),
        ({"address": "auto", "max_concurrent": 4}, [(4, 0)], "cuda", 1),
        ({"address": "auto"}, [], "cpu", 1),
    ],
)
def test_cohorts_at_once(
    options: dict[str, Any],
    cluster: list[tuple[float, float]],
    device: str,
    slots: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert slots_of(Options(**options), nodes(*cluster), device) == slots


@pytest.mark.parametrize(
    ("visible", "seen", "gpus"),
    [
        ("0", 1, 1),
        ("0,1", 2, 2),
        ("1, 0", 2, 2),
        ("GPU-5ae36ee4-1c8d-7b7c-e3d4-5c1b4a1d2f10", 1, 1),
        ("GPU-5ae36ee4,GPU-6bf47ff5", 2, 2),
        ("MIG-41b36f2a-5d2c-5a8e-9f6b-0c4d1e2f3a4b", 1, 1),
        # CUDA shows a process one part; each worker of Ray gets its own.
        ("MIG-41b36f2a-5d2c-5a8e-9f6b-0c4d1e2f3a4b,MIG-52c47f3b-6e3d-5b9f-8a7c-1d5e2f3a4b5c", 1, 2),
        ("MIG-41b36f2a,MIG-41b36f2a", 1, 1),
        ("MIG-41b36f2a,MIG-52c47f3b,0", 1, 1),  # not parts alone: torch's word
        ("MIG-41b36f2a,MIG-52c47f3b", 0, 0),  # without a driver
        ("MIG-GPU-5ae36ee4-1c8d-7b7c-e3d4-5c1b4a1d2f10/1/0", 1, 1),
        ("", 0, 0),
        ("-1", 0, 0),
        ("NoDevFiles", 0, 0),
    ],
)
def test_which_gpus_are_visible(visible: str, seen: int, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """seen: by torch, in this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(capacity, "cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen > 0)
    device = device_of(Options(), [])
    assert device == ("cuda" if seen else "cpu")
    assert slots_of(Options(), [], device) == (gpus or 8)
    assert slots_of(Options(inline=True), [], device) == 1
    if seen:
        assert slots_of(Options(gpus_per_trial=0.5), [], device) == min(8, 2 * gpus)


@pytest.mark.parametrize(
    ("share", "device", "gpus"), [(None, "cpu", 0.0), (None, "cuda", 1.0), (0.25, "cuda", 0.25), (0.0, "cuda", 0.0)]
)
def test_gpus_of_a_cohort(share: float | None, device: str, gpus: float) -> None:
    assert gpus_of_cohort(Options(gpus_per_trial=share), device) == gpus


def test_threads_of_a_cohort_must_exist_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "cores", lambda: 4)
    check_threads(Options(cpus_per_trial=4))
    check_threads(Options(cpus_per_trial=64, address="auto"))  # the cluster's nodes may have them
    with pytest.raises(UserError, match="--cpus-per-trial 5: this machine has 4; give 1 to 4"):
        check_threads(Options(cpus_per_trial=5))


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

"""What a run may use: the device, and how many cohorts train at once, on this machine or on a cluster's nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scl.errors import UserError
from scl.machine import cores, gpu_parts
from scl.study.options import Options


@dataclass(frozen=True)
class Node:
    """A node of a cluster.

    host: its address. resources: CPU, GPU, … → how many. versions: of Python and of packages; None if not installed.
    driver: whether it has a GPU's driver, if that is known.
    """

    host: str
    resources: Mapping[str, float]
    versions: Mapping[str, str | None]
    driver: bool = True


def slots_on(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    """Cohorts that fit on these nodes at once; a share of a GPU lies on one GPU."""

    def on(node: Node) -> int:
        room = int(node.resources.get("CPU", 0) // cpus)
        if gpus:
            have = node.resources.get("GPU", 0.0)
            room = min(room, int(have // gpus) if gpus >= 1 else int(have) * cohorts_on_a_gpu(gpus))
        return room

    return sum(map(on, nodes))


def cohorts_on_a_gpu(gpus: float) -> int:
    """Cohorts that lie on one GPU at once if each takes so many GPUs, above 0."""
    return max(1, math.floor(1 / gpus + 1e-9))  # 1 / (1 / 49) is a little below 49


def check_threads(options: Options) -> None:
    """Raises UserError if a cohort wants more threads than this machine has."""
    if options.cpus_per_trial > cores() and not options.address:
        raise UserError(f"--cpus-per-trial {options.cpus_per_trial}: this machine has {cores()}; give 1 to {cores()}")


def device_of(options: Options, nodes: Sequence[Node]) -> str:
    """cpu or cuda. On a cluster its nodes' GPUs count, or what --gpus-per-trial asks for.

    Raises:
        UserError: cuda or a share of a GPU is asked for, and this machine has none or not so many; or Ray counts GPUs
            on a cluster whose nodes have no driver.
    """
    device = _device_of(options, nodes)
    having = [node for node in nodes if node.resources.get("GPU", 0.0) > 0]
    if device == "cuda" and having and not any(node.driver for node in having):
        hosts = ", ".join(node.host for node in having[:5])
        raise UserError(
            f"--address {options.address}: Ray counts GPUs on {hosts}, but no driver of a GPU is installed there; "
            "install it, or give --device cpu"
        )
    return device


def _device_of(options: Options, nodes: Sequence[Node]) -> str:
    import torch  # only now: the survey of a cluster does without  # noqa: PLC0415

    if not options.address and not torch.cuda.is_available():
        if options.device == "cuda":
            raise UserError("--device cuda: torch finds no CUDA device on this machine; valid here: auto, cpu")
        if options.device == "auto" and options.gpus_per_trial:
            share = f"--gpus-per-trial {options.gpus_per_trial:g}"
            raise UserError(f"{share}: torch finds no CUDA device on this machine; valid here: 0")
    if not options.address and options.device != "cpu" and (options.gpus_per_trial or 0) > 1:
        have = torch.cuda.device_count()
        if (options.gpus_per_trial or 0) > have:
            raise UserError(f"--gpus-per-trial {options.gpus_per_trial:g}: this machine has {have}; give at most that")
    if options.device != "auto":
        return options.device
    if options.gpus_per_trial is not None and (options.gpus_per_trial > 0 or options.address):
        return "cuda" if options.gpus_per_trial > 0 else "cpu"
    if options.address:
        return "cuda" if max(node.resources.get("GPU", 0.0) for node in nodes) > 0 else "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def slots_of(options: Options, nodes: Sequence[Node], device: str) -> int:
    """Cohorts that run at once: on a cluster's nodes as they are now, else on this machine's cores and GPUs."""
    if options.inline:
        return 1
    gpus = gpus_of_cohort(options, device)
    room = slots_on(nodes if options.address else [_this_machine(gpus > 0)], options.cpus_per_trial, gpus)
    return min(max(1, room), options.max_concurrent or room or 1)


def _this_machine(with_gpus: bool) -> Node:
    import torch  # noqa: PLC0415

    return Node("", {"CPU": cores(), "GPU": max(torch.cuda.device_count(), gpu_parts()) if with_gpus else 0}, {})


def gpus_of_cohort(options: Options, device: str) -> float:
    return options.gpus_per_trial if options.gpus_per_trial is not None else float(device == "cuda")

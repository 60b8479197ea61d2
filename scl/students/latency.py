"""How long a student takes, measured in the file that will be used: ONNX, TorchScript or safetensors."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scl.errors import UserError, first_line, how_to_install
from scl.store.latencies import architecture_of
from scl.store.schema import now
from scl.students.student import Student, misdescribed, model_of, read_student
from scl.study.network import model_name
from scl.train.process import threads as torch_threads
from scl.train.weights import no_weights, regular_file

WARM_UP = 10  # forwards that are not counted
SUFFIXES = (".safetensors", ".onnx", ".pt")

Forward = Callable[[np.ndarray], object]


def measure(
    path: str,
    runs: int,
    batch: int,
    threads: int,
    device: str = "",
    model: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """A measurement for `scl.store.latencies`: the median and percentiles of `runs` forwards of one batch on the CPU.

    Images are random. The file is run as it is: what normalises them inside is part of the time.

    Args:
        device: the name of this machine in tables; empty takes the processor's.
        model: as for `load_student`; only of .safetensors files.

    Raises:
        UserError: the file is no student of scl in one of three formats, or its runtime is not installed.
    """
    file = regular_file(path)
    record, forward, runtime = opened(file, threads, model)
    shape = (batch, *record["image_shape"])
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    times = []
    with torch.inference_mode(), torch_threads(threads):
        for _ in range(WARM_UP + runs):
            began = time.perf_counter()
            forward(images)
            times.append(1e3 * (time.perf_counter() - began))
    counted = np.array(times[WARM_UP:])
    return {
        **about(record),
        "latency_ms": statistics.median(counted.tolist()),
        "low_ms": float(np.quantile(counted, 0.05)),
        "high_ms": float(np.quantile(counted, 0.95)),
        "device": device or processor(),
        "runtime": runtime,
        "threads": threads,
        "batch": batch,
        "bytes": file.stat().st_size,
        "when": now().isoformat(timespec="seconds"),
    }


def given(
    path: str,
    latency_ms: float,
    batch: int,
    threads: int,
    device: str,
    model: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """A measurement that another tool took of this file, as a benchmark on a phone."""
    file = regular_file(path)
    record, *_ = opened(file, threads, model)
    return {
        **about(record),
        "latency_ms": latency_ms,
        "low_ms": None,
        "high_ms": None,
        "device": device,
        "runtime": "measured elsewhere",
        "threads": threads,
        "batch": batch,
        "bytes": file.stat().st_size,
        "when": now().isoformat(timespec="seconds"),
    }


def about(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a measurement says of the student."""
    config = record["config"]
    return {
        "architecture": architecture_of(config, record["image_shape"], len(record["classes"])),
        "student": model_of(record),
        "arm": record["arm"],
        "trial_id": record["trial_id"],
    }


def opened(file: Path, threads: int, model: Callable[..., Any] | None = None) -> tuple[dict[str, Any], Forward, str]:
    """The student's record in an exported file, its forward, and the runtime with its version.

    Raises:
        UserError: see `measure`.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if problem := no_weights(content[:1024]):
        raise UserError(f"{file} {problem}")
    kind = file.suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(f"{file}: a student is a file {', '.join(SUFFIXES)}; `scl export` writes one")
    if model is not None and kind != ".safetensors":
        raise UserError(
            f"{file} holds its whole network, so it needs no class; leave out the class {model_name(model)}"
        )
    try:
        if kind == ".safetensors":
            record, forward, runtime = _safetensors(content, str(file), model)
        else:
            reader = {".onnx": _onnx, ".pt": _torchscript}[kind]
            record, forward, runtime = reader(content, str(file), threads)
    except UserError:
        raise
    except Exception as error:  # a damaged or foreign file can raise anything
        raise UserError(f"{file} is damaged, or was not written by `scl export` ({first_line(error)})") from None
    if problem := misdescribed(record):
        raise UserError(f"{file} does not describe a student of scl ({problem}); export it again with `scl export`")
    return record, forward, runtime


def _safetensors(content: bytes, where: str, model: Callable[..., Any] | None) -> tuple[dict[str, Any], Forward, str]:
    student: Student = read_student(content, where, True, model)
    return student.record, lambda images: student(torch.from_numpy(images)), f"PyTorch {torch.__version__}"


def _torchscript(content: bytes, where: str, threads: int) -> tuple[dict[str, Any], Forward, str]:
    files = {"record.json": ""}
    script = torch.jit.load(where, map_location="cpu", _extra_files=files)  # type: ignore[no-untyped-call]
    record = json.loads(files["record.json"])
    return record, lambda images: script(torch.from_numpy(images)), f"TorchScript {torch.__version__}"


def _onnx(content: bytes, where: str, threads: int) -> tuple[dict[str, Any], Forward, str]:
    try:
        import onnxruntime  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UserError(f"{where}: onnxruntime is not installed; {how_to_install('onnx')}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    record = {}
    for name, value in properties.items():
        with suppress(ValueError):
            record[name] = json.loads(value)
    taken = session.get_inputs()[0]
    of_photos = taken.type == "tensor(uint8)"  # one photo at a time, channels last

    def forward(images: np.ndarray) -> object:
        if not of_photos:
            return session.run(None, {taken.name: images})
        photos = (255 * images).astype(np.uint8).transpose(0, 2, 3, 1)
        return [session.run(None, {taken.name: photo}) for photo in photos]

    return record, forward, f"onnxruntime {onnxruntime.__version__}"


def processor() -> str:
    """The name of this machine's processor, as far as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"

"""Checkpoints as libraries and training scripts leave them: what each is, and what scl must make of it."""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scl.train import checkpoint

State = dict[str, Tensor]
Write = Callable[[Path, State], Path]


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def _pt(make: Callable[[State], Any], name: str = "model.pt", **how: Any) -> Write:
    def write(folder: Path, state: State) -> Path:
        torch.save(make(state), folder / name, **how)
        return folder / name

    return write


def _st(make: Callable[[State], State], metadata: dict[str, str] | None = None) -> Write:
    def write(folder: Path, state: State) -> Path:
        save_file({k: v.contiguous().clone() for k, v in make(state).items()}, folder / "m.safetensors", metadata)
        return folder / "m.safetensors"

    return write


def _averaged(state: State) -> State:
    return {name: t + 1 if t.is_floating_point() else t for name, t in state.items()}


def _timm(state: State) -> dict[str, Any]:
    """As timm's CheckpointSaver: `state_dict` beside a Namespace, and the average that it prefers in validation."""
    return {
        "epoch": 3,
        "arch": "x",
        "state_dict": _averaged(state),
        "optimizer": _optimiser(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1, data_dir=Path("/data"), mean=None),
        "amp_scaler": {"scale": 65536.0},
        "state_dict_ema": state,
        "metric": np.float64(71.5),
    }


def _torchvision(state: State) -> dict[str, Any]:
    """As the reference scripts: the average is an AveragedModel, with a counter and `module.`."""
    counted = {"n_averaged": torch.tensor(9), **prefixed("module.", state)}
    return {
        "model": _averaged(state),
        "optimizer": _optimiser(),
        "lr_scheduler": {"last_epoch": 3},
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, model="x", device=torch.device("cpu")),
        "model_ema": counted,
    }


def _lightning(prefix: str, extra: bool = False) -> Callable[[State], dict[str, Any]]:
    def make(state: State) -> dict[str, Any]:
        more = {"criterion.weight": torch.ones(3), "train_acc.total": torch.tensor(3)} if extra else {}
        return {
            "epoch": 3,
            "global_step": 99,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": OrderedDict({**prefixed(prefix, state), **more}),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.7), "best_k_models": {}}},
            "optimizer_states": [_optimiser()],
            "lr_schedulers": [],
            "hyper_parameters": {"lr": 0.1, "optimizer": torch.optim.SGD},
        }

    return make


def _optimiser() -> dict[str, Any]:
    network = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


class Trainer:
    """An object of the script that saved it."""

    def __init__(self) -> None:
        self.history = [1, 2]


def _sharded(folder: Path, state: State, lost: bool = False) -> Path:
    names = list(state)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in halves.items():
        if not (lost and "00002-of" in file.partition("-")[2][:8]):
            save_file({n: state[n].contiguous().clone() for n in part}, folder / file)
    table = {n: file for file, part in halves.items() for n in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder


def _lost_shard(folder: Path, state: State) -> Path:
    _sharded(folder, state)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return folder


def _folder(*files: Callable[[Path, State], object]) -> Write:
    def write(folder: Path, state: State) -> Path:
        for file in files:
            file(folder, state)
        return folder

    return write


def _bin(folder: Path, state: State) -> None:
    torch.save(state, folder / "pytorch_model.bin")


def _training_args(folder: Path, state: State) -> None:
    torch.save(argparse.Namespace(lr=1), folder / "training_args.bin")


def _two(folder: Path, state: State) -> None:
    torch.save(state, folder / "a.pt")
    torch.save(state, folder / "b.pt")


def _bytes(name: str, content: bytes) -> Write:
    def write(folder: Path, state: State) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _zip(name: str, *members: str) -> Write:
    def write(folder: Path, state: State) -> Path:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member in members:
                archive.writestr(member, b"{}")
        return folder / name

    return write


def _pickle(folder: Path, state: State) -> Path:
    (folder / "m.pkl").write_bytes(pickle.dumps({"a": np.ones(3)}))
    return folder / "m.pkl"


# Each holds the state dict, whatever stands around it.
RIGHT: dict[str, Write] = {
    "timm, train.py": _pt(_timm, "model_best.pth.tar"),
    "timm, clean": _pt(lambda s: s),
    "torchvision, references": _pt(_torchvision, "checkpoint.pth"),
    "torchvision, without an average": _pt(lambda s: {"model": s, "epoch": 1, "args": argparse.Namespace(a=1)}),
    "lightning, model.": _pt(_lightning("model."), "epoch=3.ckpt"),
    "lightning, net.": _pt(_lightning("net."), "last.ckpt"),
    "lightning, a loss and metrics": _pt(_lightning("model.", True), "last.ckpt"),
    "fastai, Learner.save": _pt(lambda s: {"model": s, "opt": _optimiser()}, "stage-1.pth"),
    "DDP": _pt(lambda s: prefixed("module.", s)),
    "torch.compile": _pt(lambda s: prefixed("_orig_mod.", s)),
    "DDP of torch.compile": _pt(lambda s: {"state_dict": prefixed("module._orig_mod.", s)}),
    "numpy scalars": _pt(lambda s: {"net": s, "best": np.float32(0.7), "seed": np.int64(3)}),
    "an object beside": _pt(lambda s: {"net": s, "trainer": Trainer()}),
    "protocol 4": _pt(lambda s: {"net": s, "x": argparse.Namespace(a=1)}, pickle_protocol=4),
    "protocol 5": _pt(lambda s: s, pickle_protocol=5),
    "before 1.6": _pt(lambda s: {"net": s, "x": argparse.Namespace(a=1)}, _use_new_zipfile_serialization=False),
    "parameters": _pt(lambda s: {k: nn.Parameter(t) if t.is_floating_point() else t for k, t in s.items()}),
    "an average alone": _pt(lambda s: {"ema": {"decay": 0.99, "shadow": s}}),
    "an average without buffers": _pt(
        lambda s: {"model": s, "ema": {k: t + 1 for k, t in s.items() if t.is_floating_point() and "running" not in k}}
    ),
    "optimiser state by name": _pt(lambda s: {"model": s, "optimizer": {"state": {"a": {"exp_avg": torch.ones(2)}}}}),
    "safetensors": _st(lambda s: s),
    "safetensors, model.": _st(lambda s: prefixed("model.", s)),
    "safetensors, timm_model.": _st(lambda s: prefixed("timm_model.", s), {"format": "pt"}),
    "safetensors, module._orig_mod.": _st(lambda s: prefixed("module._orig_mod.", s)),
    "safetensors, a loss too": _st(lambda s: {**prefixed("model.", s), "criterion.weight": torch.ones(3)}),
    "pt, a loss too": _pt(lambda s: {**prefixed("model.", s), "criterion.weight": torch.ones(3)}),
    "an averaged part": _pt(lambda s: {**prefixed("model.", _averaged(s)), **prefixed("model_ema.", s)}),
    "hugging face": _folder(lambda f, s: save_file(s, f / "model.safetensors"), _training_args),
    "hugging face, .bin": _folder(_bin, _training_args),
    "hugging face, sharded": _sharded,
    "stored by scl": lambda f, s: _bytes(
        "teacher.safetensors", checkpoint.pack({**s, "test_logits": torch.ones(2)}, {"metrics": {"test_acc": 0.5}})
    )(f, s),
    "a folder with one": _folder(lambda f, s: torch.save(s, f / "best.ckpt")),
    "half": _pt(lambda s: {k: t.half().float() if t.is_floating_point() else t for k, t in s.items()}),
}

# Each is refused, once, by a message.
WRONG: dict[str, tuple[Write, str]] = {
    "a whole network": (_pt(lambda s: nn.Sequential(nn.Linear(2, 2))), r"whole network .*state_dict\(\), PATH\)"),
    "a whole network inside": (_pt(lambda s: {"model": nn.Linear(2, 2), "epoch": 1}), r"whole network"),
    "a whole network, old": (
        _pt(lambda s: nn.Linear(2, 2), _use_new_zipfile_serialization=False), "whole network",
    ),
    "two networks": (_pt(lambda s: {**prefixed("student.", s), **prefixed("teacher.", s)}), "several such networks"),
    "two networks, safetensors": (_st(lambda s: {**prefixed("a.", s), **prefixed("b.", s)}), "several such networks"),
    "keras": (_bytes("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "keras 3": (_zip("m.keras", "config.json", "model.weights.h5"), "Keras"),
    "onnx": (_bytes("m.onnx", b"\x08\x07\x12\x07pytorch" + bytes(99)), "ONNX"),
    "tensorflow": (_bytes("saved_model.pb", b"\x08\x01" + bytes(99)), "TensorFlow"),
    "tf lite": (_bytes("m.tflite", bytes(4) + b"TFL3" + bytes(99)), "TensorFlow Lite"),
    "gguf": (_bytes("m.gguf", b"GGUF" + bytes(99)), "GGUF"),
    "numpy": (_zip("m.npz", "a.npy"), "numpy"),
    "torch.export": (_zip("m.pt2", "m/archive_format", "m/models/model.json"), r"torch\.export"),
    "another archive": (_zip("m.zip", "readme.txt"), r"no data\.pkl"),
    "gzip": (_bytes("m.tar.gz", b"\x1f\x8b\x08" + bytes(99)), "gzip"),
    "sklearn": (_pickle, "torch.save did not write it"),
    "noise": (_bytes("m.pt", bytes(range(7, 251)) * 9), "begins as no format"),
    "pickled noise": (_bytes("m.pt", b"\x80\x02e" + bytes(99)), "cut, or was changed"),
    "a lost shard": (_lost_shard, "model-00002-of-00002.safetensors.*not beside it"),
    "an empty folder": (_folder(), "without weights"),
    "a folder with two": (_folder(_two), r"2 checkpoints: a\.pt, b\.pt"),
    "a distributed checkpoint": (_folder(lambda f, s: (f / ".metadata").write_bytes(b"x")), "distributed checkpoints"),
    "an optimiser alone": (_pt(lambda s: {"optimizer": _optimiser(), "epoch": 3}), "no state dict"),
    "an average of parameters": (_pt(lambda s: dict(list(s.items())[:-1])), "is absent"),
}  # fmt: skip

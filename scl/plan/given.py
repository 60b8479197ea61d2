"""A user's teacher before its weights are read: its files, what is said of it, and how it is fed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from scl.data.dataset import Dataset
from scl.errors import UserError, shown
from scl.plan.described import Described, beside_file, names_in, of_mapping, of_published_file, read_json
from scl.study.config import Config
from scl.study.fields import of_library
from scl.study.identity import sha256
from scl.study.network import is_own, model_name
from scl.study.options import Options
from scl.study.params import with_params
from scl.train.inputs import Inputs, class_columns
from scl.train.weights import AVERAGED, Checkpoint, open_checkpoint, regular_file

# Files of a folder that hold its weights, the first that is there.
FILES = (
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "model.pt", "model.pth", "model_best.pth.tar",
)  # fmt: skip
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin")  # beside weights of transformers
INDEX = ".index.json"
OF_SCL = "test_logits"  # a tensor of a teacher that scl has stored


@dataclass(frozen=True)
class Given:
    """A teacher of a user's.

    path: as it was given. files: its weights, several if it is sharded. digest: SHA-256 of their content. shards: the
    opened files. described: what they, and what is beside them, say of it.
    """

    path: str
    files: tuple[Path, ...]
    digest: str
    shards: tuple[Checkpoint, ...]
    described: Described

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {name: shape for shard in self.shards for name, shape in shard.shapes.items()}
        if any(isinstance(shard.beside.get("record"), Mapping) for shard in self.shards):
            found.pop(OF_SCL, None)
        return found

    @property
    def takes_colour(self) -> bool:
        """Whether its first convolution has three channels: no other has so few, but those of a grey image."""
        channels = [shape[1] for shape in self.shapes.values() if len(shape) == 4]
        return 3 in channels and 1 not in channels

    @property
    def ordered(self) -> bool:
        return len(self.shards) == 1 and self.shards[0].ordered

    def weights(self) -> dict[str, Tensor]:
        """The tensors by name. Raises UserError: the file cannot be read."""
        return {name: tensor for shard in self.shards for name, tensor in shard.weights().items()}


def open_given(path: str, flag: str = "--teacher") -> Given:
    """A checkpoint, or a folder with one and its configuration.

    Raises:
        UserError: it is not there, cannot be read safely, or what is beside it contradicts itself.
    """
    where = f"{flag} {shown(path)}".strip()
    if not os.path.exists(path) and not os.path.exists(os.path.expanduser(path)):  # or too long a name
        raise UserError(f"{where}: no such file")
    folder = Path(path).expanduser()
    file = _weights_in(folder, where) if folder.is_dir() else regular_file(path, flag)
    files = _shards(file, where) if file.name.endswith(INDEX) else (file,)
    try:
        digests = []
        for one in files:
            with one.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from None
    shards = tuple(open_checkpoint(path if one == folder else str(one), flag) for one in files)
    said = Described()
    for shard in shards:
        said = said.over(of_mapping(shard.beside, "the checkpoint"))
    alone = folder.is_dir() or file.name in FILES or _weights_of(file.parent) == [file.name]
    said = said.over(beside_file(file, alone)).over(of_published_file(file.name))
    return Given(path, files, digests[0] if len(digests) == 1 else sha256(digests), shards, said)


def _weights_in(folder: Path, where: str) -> Path:
    """The file of a folder that holds its weights. Raises UserError: there is none, or which one is unclear."""
    try:
        names = sorted(name for name in os.listdir(folder) if (folder / name).is_file())
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from None
    for name in FILES:
        if name in names:
            return folder / name
    found = _weights_of(folder)
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise UserError(f"{where} is a folder with {len(found)} checkpoints: {', '.join(found):.200}; name one of them")
    other = " without weights"
    if ".metadata" in names:
        other = " of torch's distributed checkpoints; dcp_to_torch_save of torch makes a file of it"
    elif "saved_model.pb" in names:
        other = " of TensorFlow, which scl cannot read"
    raise UserError(f"{where} is a folder{other}; name a file, or a folder with {FILES[0]}")


def _weights_of(folder: Path) -> list[str]:
    """The names of the checkpoints in a folder, in order."""
    names = sorted(os.listdir(folder))
    return [n for n in names if n.endswith(SUFFIXES) and n not in NO_WEIGHTS and (folder / n).is_file()]


def _shards(index: Path, where: str) -> tuple[Path, ...]:
    """The files that an index of Hugging Face names. Raises UserError: one is not there."""
    content = read_json(index)
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise UserError(f"{where}: {index.name} names no files with weights")
    names = sorted(set(table.values()))
    if wrong := [name for name in names if name != os.path.basename(name) or not (index.parent / name).is_file()]:
        raise UserError(f"{where}: {index.name} needs {wrong[0]!r:.100}, which is not beside it; copy it there too")
    return tuple(index.parent / name for name in names)


# --- how it is fed ----------------------------------------------------------------------------------------------------


def with_flags(given: Given, options: Options) -> Described:
    """What is said of the teacher, flags first. Raises UserError for flags that contradict each other."""
    mean, std = options.teacher_mean or (), options.teacher_std or ()
    if bool(mean) != bool(std):
        raise UserError("--teacher-mean and --teacher-std belong together; give both, of pixels in [0, 1]")
    if len(mean) not in (len(std), 1) and len(std) != 1:
        raise UserError(f"--teacher-mean {mean} and --teacher-std {std} must have as many numbers")
    channels = max(len(mean), len(std))
    flags = Described(
        model=model_name(options.teacher_model) if options.teacher_model else "",
        mean=mean if len(mean) == channels else mean * channels,
        std=std if len(std) == channels else std * channels,
        size=options.teacher_size,
        classes=names_in(options.teacher_classes) if options.teacher_classes else (),
        where="the command line",
    )
    return flags.over(given.described)


def architecture(teacher: Config, said: Described, options: Options) -> Config:
    """The teacher's configuration, with the network that the file names if no flag does, and the study no class."""
    if options.teacher_model or is_own(teacher.model) or not said.model or said.model == teacher.model:
        return teacher
    width = 1.0 if of_library(said.model) or said.width is None else said.width
    return with_params(teacher, {"model": said.model, "width": options.teacher_width or width})


def inputs_of(
    said: Described, dataset: Dataset, mean: np.ndarray, std: np.ndarray, columns: bool, takes_colour: bool
) -> tuple[Inputs | None, str]:
    """How a teacher is fed with these data, and that in one line; None if it takes and gives just what the data give.

    Args:
        mean, std: of the data. columns: whether its classes must be the data's; not if its last layer is not used.
        takes_colour: whether the first layer of its weights has three channels.

    Raises:
        UserError: its classes are not those of the data.
    """
    channels, height, width = dataset.train_images.shape[1:]
    repeated = 3 if channels == 1 and (len(said.mean) == 3 or takes_colour) else None
    one, two = (of * (repeated or channels) if len(of) == 1 else of for of in (said.mean, said.std))
    if len(one) > (repeated or channels) or (one and len(one) < channels):
        raise UserError(
            f"{said.where}: {len(one)} means for {channels} channels of the data; give --teacher-mean with {channels}"
        )
    same = not one or (_same(one, mean) and _same(two, std))
    size = said.size if said.size and (height, width) != (said.size, said.size) else None
    order: tuple[int, ...] | None = None
    if said.classes and columns:
        order = class_columns(dataset.classes, said.classes, said.where)
    identity = order is None or (order == tuple(range(len(order))) and len(order) == len(said.classes))
    inputs = Inputs(
        mean=() if same else one,
        std=() if same else two,
        size=size,
        interpolation=said.interpolation or "bilinear",
        channels=repeated,
        columns=() if identity or order is None else order,
        outputs=None if identity else len(said.classes),
    )
    parts = [
        f"mean {_numbers(one)} and std {_numbers(two)}" if one else "the data's mean and std (none were given)",
        f"{said.size}×{said.size} pixels" + (f" ({inputs.interpolation}, whole image)" if size else "")
        if said.size
        else f"the data's {height}×{width} pixels (no size was given)",
    ]
    parts += ["the grey channel repeated three times"] * (repeated is not None)
    if columns:
        parts.append(_order(order, said, len(dataset.classes)))
    by = f" (from {said.where})" if said.where else ""
    return (inputs if inputs.plain() else None), f"fed with {', '.join(parts)}{by}"


def _same(one: Sequence[float], other: np.ndarray) -> bool:
    return np.array_equal(np.array(one, dtype=np.float32), other)


def _order(order: Sequence[int] | None, said: Described, classes: int) -> str:
    if order is None:
        return "classes in the order of the data, as no names say otherwise"
    if len(said.classes) > classes:
        return f"the {classes} classes of the data, by name, of its {len(said.classes)}"
    return "classes by name, " + ("in the data's order" if list(order) == list(range(classes)) else "in another order")


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def id_of(given: Given, inputs: Inputs | None, features: bool) -> str:
    """The teacher's id: the hash of its file, and of what else changes its numbers."""
    more: dict[str, Any] = inputs.plain() if inputs else {}
    more |= {"features": True} if features else {}
    more |= {"weights": ".".join(given.shards[0].key)} if given.shards[0].averaged else {}
    return sha256({"file": given.digest, **more}) if more else given.digest


def told(given: Given, options: Options, fed: str, suspected: str, inputs: Inputs | None) -> dict[str, Any]:
    """What study.json and the page say of a teacher from a file; nothing if nothing was said of it."""
    parts = [fed] if given.described.where else []
    parts += [f"its averaged weights ({'.'.join(given.shards[0].key)})"] if given.shards[0].averaged else []
    parts += ["its feature maps alone, without its last layer"] if options.teacher_features else []
    parts += ["fine-tuned here with a fresh last layer"] if options.teacher_finetune else []
    parts += [f"used although {suspected}"] if suspected else []
    if not parts:
        return {}
    return {"described": "; ".join(parts), "inputs": inputs.plain() if inputs else None}


# --- which tensor is which --------------------------------------------------------------------------------------------

Shapes = Mapping[str, tuple[int, ...]]


def fitted(shapes: Shapes, wanted: Shapes, by_order: bool = True) -> dict[str, str] | None:
    """For each tensor of a network the name that it has in a checkpoint, or None if it does not fit.

    They are matched by name, after prefixes that all names share (`module.`, `backbone.`) or that part of them has, if
    that part is a whole network. Or else, with `by_order`, by order and shape: published code registers the layers of
    these architectures in the same order under other names. A checkpoint with more tensors fits only a model of another
    library, whose auxiliary heads are not built here.

    Raises:
        UserError: several parts of it are such networks.
    """
    several = any(k.startswith("net.") for k in wanted)
    names = {k: k.removeprefix("net.") for k in wanted}
    for bare in unprefixed(shapes):
        if len(bare) <= len(wanted) or several:
            for kept in ({k: k for k in wanted}, names):
                if all(bare.get(short, ("", ()))[1] == wanted[k] for k, short in kept.items()):
                    return {k: bare[short][0] for k, short in kept.items()}
    parts = {name: part for name, part in _parts(bare).items() if fitted(part, wanted, by_order=False)}
    if parts:
        chosen = [name for name in parts if AVERAGED.search(name)] or list(parts)
        if len(chosen) > 1:
            raise UserError(
                f"the checkpoint holds several such networks, {' and '.join(map(repr, chosen))}; save one of them alone"
            )
        return fitted(parts[chosen[0]], wanted, by_order=False)
    if by_order and list(shapes.values()) == list(wanted.values()):
        return dict(zip(wanted, shapes, strict=True))
    return None


def _parts(bare: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Shapes]:
    """The tensors under each first part of a name, if there are several, by the names of the checkpoint."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, (given, shape) in bare.items():
        found.setdefault(name.partition(".")[0], {})[given] = shape
    return dict(found) if len(found) > 1 else {}


def unprefixed(shapes: Shapes) -> Iterator[dict[str, tuple[str, tuple[int, ...]]]]:
    """Name → name in the checkpoint and shape: as they are named, and then without each prefix that all names share."""
    bare = {name: (name, shape) for name, shape in shapes.items()}
    while True:
        yield bare
        first = next(iter(bare), "").partition(".")[0] + "."
        if not bare or not all(name.startswith(first) and name != first for name in bare):
            return
        bare = {name.removeprefix(first): value for name, value in bare.items()}


def misfit(shapes: Shapes, wanted: Shapes, by_order: bool = True) -> str:
    """The first difference between a checkpoint and a model: by order if they have as many tensors, else by name."""
    bare = max(unprefixed(shapes), key=lambda named: sum(k.removeprefix("net.") in named or k in named for k in wanted))
    shared = [k for k in wanted if k in bare or k.removeprefix("net.") in bare]
    if len(shapes) == len(wanted) and by_order and len(shared) < len(wanted):
        for (name, old), (given, shape) in zip(wanted.items(), shapes.items(), strict=True):
            if shape != old:
                return f"by order, {given} is {shape} where {name} is {old}"
    count = f"it has {len(shapes)} tensors, wanted {len(wanted)}"
    over = [name for name in bare if name not in wanted and f"net.{name}" not in wanted]
    if len(shapes) > len(wanted) and over and not any(k.startswith("net.") for k in wanted):
        return f"{count}; {over[0]} is one too many"
    if absent := [name for name in wanted if name not in shared]:
        # safetensors sorts tensors by type and name.
        order = "" if by_order else "; names must match, because a .safetensors file does not keep the order of layers"
        return f"{count}; {absent[0]} is absent{order}"
    for name, old in wanted.items():
        shape = bare[name if name in bare else name.removeprefix("net.")][1]
        if shape != old:
            return f"{name} is {shape}, wanted {old}"
    return count


def without(described: Described, *names: str) -> Described:
    """What is said, without some of it."""
    return dataclasses.replace(described, **{name: getattr(Described(), name) for name in names})


def as_metadata(said: Described, order: Sequence[str]) -> dict[str, str]:
    """What is said, for the metadata of a safetensors file. order: the names of the tensors as the network has them."""
    plain = {
        k: v for k, v in dataclasses.asdict(said).items() if v not in ("", None, ()) and k not in ("where", "notes")
    }
    return {"format": "pt", "scl": json.dumps({**plain, "order": list(order)}, ensure_ascii=False)}

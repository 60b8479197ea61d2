"""What a checkpoint and the configuration beside it say of a network: its name, its images, its classes."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scl.errors import UserError, shown
from scl.plan.readings import (
    class_names,
    floats,
    fraction,
    interpolation_of,
    network_name,
    number,
    side,
    transformers_class,
)
from scl.study.fields import MODELS, TIMM, TORCHVISION

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MOST_BYTES = 32 << 20  # of a configuration
# Keys by which training scripts name things, the likeliest first.
KEYS = {
    "mean": ("image_mean", "img_mean", "norm_mean", "normalize_mean", "pixel_mean", "data_mean", "mean", "means"),
    "std": ("image_std", "img_std", "norm_std", "normalize_std", "pixel_std", "data_std", "std", "stds"),
    "size": ("val_crop_size", "crop_size", "input_size", "img_size", "image_size", "size", "resolution"),
    "interpolation": ("interpolation", "resample"),
    "classes": (
        "label_names", "class_names", "classes", "classnames", "labels", "categories", "names", "id2label",
        "idx_to_class", "idx_to_label", "label2id", "class_to_idx", "label_to_idx", "vocab", "label_map",
    ),
    "accuracy": (
        "test_acc", "val_acc", "best_acc", "best_acc1", "best_top1", "best_prec1", "acc1", "top1", "accuracy", "acc",
        "test_accuracy", "val_accuracy", "best_accuracy",
    ),
    "model": ("architecture", "arch", "model_name", "model", "backbone"),
}  # fmt: skip
NESTED = (
    "scl", "args", "hyper_parameters", "hparams", "config", "cfg", "meta", "metadata", "info", "pretrained_cfg",
    "preprocessing", "preprocess", "transforms", "transform", "normalize", "normalization", "norm", "data",
    "data_config", "dataset", "label_encoder",
)  # fmt: skip


@dataclass(frozen=True)
class Described:
    """What was said of a network; empty or None: nothing.

    model, width: its name and width for scl. mean, std: of pixels in [0, 1]. size: side of its images. accuracy: what
    it reached, a fraction. transformers: its class in Hugging Face's library. where: who said so, for people. notes:
    what a user should know, in sentences.
    """

    model: str = ""
    width: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int | None = None
    interpolation: str = ""
    classes: tuple[str, ...] = ()
    transformers: str = ""
    accuracy: float | None = None
    where: str = ""
    notes: tuple[str, ...] = ()

    def over(self, other: Described) -> Described:
        """This, and what it does not say from another; contradictions are noted."""
        notes, values = [*self.notes, *other.notes], {}
        mine, its = self.normalised(), other.normalised()
        for name in ("model", "mean", "std", "size", "interpolation", "classes", "accuracy", "width", "transformers"):
            one, two = getattr(mine, name), getattr(its, name)
            values[name] = two if one in ("", None, ()) else one
            if one not in ("", None, ()) and two not in ("", None, ()) and one != two and name != "accuracy":
                notes.append(
                    f"{self.where} gives {name} {_short(one)} and {other.where} {_short(two)}: the first is used"
                )
        said = [d.where for d in (self, other) if d.says_anything]
        return Described(**values, where=" and ".join(dict.fromkeys(said)), notes=tuple(dict.fromkeys(notes)))

    def normalised(self) -> Described:
        """Without an interpolation if it has no size: it says nothing then."""
        return self if self.size else dataclasses.replace(self, interpolation="")

    @property
    def says_anything(self) -> bool:
        return bool(self.model or self.mean or self.size or self.classes or self.accuracy is not None)


def _short(value: Any) -> str:
    text = (
        ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
        if isinstance(value, tuple)
        else str(value)
    )
    return text if len(text) < 60 else f"{text[:60]}…"


def beside_file(file: Path, whole_folder: bool) -> Described:
    """What configurations beside a checkpoint say.

    Args:
        whole_folder: the folder belongs to this network alone; else only a configuration that bears the name of the
            file is read: NAME.json of NAME.pt.

    Raises:
        UserError: one of them cannot be read, or contradicts itself.
    """
    folder, found = file.parent, Described()
    names = ["preprocessor_config.json", "image_processor_config.json", "config.json"] if whole_folder else []
    for name in [f"{file.stem}.json", *names]:
        path = folder / name
        if path.is_file() and path != file:
            found = found.over(of_json(read_json(path), name))
    return found


def read_json(path: Path) -> Any:
    """A small JSON file. Raises UserError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large for a configuration")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({type(error).__name__}); mend or remove it") from None


def of_json(content: Any, where: str) -> Described:
    """A configuration of Hugging Face transformers, timm, or of one's own. Raises UserError for impossible values."""
    if not isinstance(content, Mapping):
        return Described()
    if any(name in content for name in ("image_mean", "do_normalize", "image_processor_type", "do_rescale")):
        return _of_processor(content, where)
    return of_mapping(content, where)


def _of_processor(content: Mapping[str, Any], where: str) -> Described:
    """An image processor of transformers: pixels are rescaled, then normalised."""
    if content.get("do_flip_channel_order"):
        raise UserError(f"{where}: the network takes blue before red, and scl feeds red first; convert its first layer")
    factor = number(content.get("rescale_factor"), 1 / 255) if content.get("do_rescale", True) else 1.0
    offset = 1.0 if content.get("rescale_offset") else 0.0
    mean, std = floats(content.get("image_mean")) or (0.0,), floats(content.get("image_std")) or (1.0,)
    if not content.get("do_normalize", "image_mean" in content):
        mean, std = (0.0,), (1.0,)
    # (255·p·factor − offset − mean) / std of pixels p in [0, 1], as (p − mean') / std'.
    mean = tuple(round((m + offset) / (255 * factor), 7) for m in mean)
    std = tuple(round(s / (255 * factor), 7) for s in std)
    size = content.get("size")
    if content.get("do_center_crop") and content.get("crop_size"):
        size = content["crop_size"]
    if not content.get("do_resize", True) and not content.get("do_center_crop"):
        size = None
    found = Described(size=side(size, where), interpolation=interpolation_of(content.get("resample", 2)), where=where)
    return _checked(dataclasses.replace(found, mean=mean, std=std))


def of_mapping(content: Mapping[str, Any], where: str, depth: int = 3) -> Described:
    """What keys that training scripts use say: on this level, then on those below.

    Raises:
        UserError: impossible values.
    """
    spelled = {_spelled(key): value for key, value in content.items()}
    said = {
        name: next((spelled[key] for key in map(_spelled, keys) if spelled.get(key) not in (None, "", (), [])), None)
        for name, keys in KEYS.items()
    }
    if "record" in content and isinstance(content["record"], Mapping):
        return _of_record(content["record"], where)
    notes = []
    accuracy = fraction(said["accuracy"])
    if accuracy is None and str(content.get("eval_metric", _below(content, "args").get("eval_metric"))).startswith(
        "top1"
    ):
        accuracy = fraction(content.get("metric"))  # of timm
    model = network_name(said["model"], content)
    mean, std = floats(said["mean"]), floats(said["std"])
    mean, std = (mean, std) if mean and std else ((), ())
    if (said["mean"], said["std"]) != (None, None) and not mean:
        notes.append(
            f"{where} has a mean or std that cannot be read as a number for each channel; give --teacher-mean and "
            "--teacher-std"
        )
    size = side(said["size"], where)
    if {"val_crop_size", "val_resize_size"} <= content.keys() and not mean:  # of torchvision's reference scripts
        mean, std = IMAGENET["mean"], IMAGENET["std"]
    if {"crop_pct", "smoothing", "drop_path"} <= content.keys() and model:  # of timm's train.py
        given = _of_timm_model(model)
        mean, std = (mean, std) if mean else (given.mean, given.std)
        size = size or given.size
        if not mean:
            notes.append(f"{where} has no mean, so that of {model} was used in training; give it with --teacher-mean")
    found = Described(
        model=model,
        width=number(content.get("width"), None) if model in MODELS else None,
        mean=mean,
        std=std,
        size=size,
        interpolation=interpolation_of(said["interpolation"]),
        classes=class_names(said["classes"], content),
        transformers=transformers_class(content),
        accuracy=accuracy,
        where=where,
        notes=tuple(notes),
    )
    for key in map(_spelled, NESTED) if depth else ():
        if isinstance(spelled.get(key), Mapping):
            below = of_mapping(spelled[key], where, depth - 1)
            found = dataclasses.replace(found.over(below), notes=found.notes + below.notes)
    return _checked(dataclasses.replace(found, where=where))


def _spelled(key: Any) -> str:
    """A key as keys are compared: IMAGE_SIZE is image_size, and class2index is class_to_idx."""
    text = re.sub(r"[^a-z0-9]", "", str(key).casefold())
    return text.replace("2", "to").replace("index", "id").replace("idx", "id")


def _below(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return content[key] if isinstance(content.get(key), Mapping) else {}


def _of_record(record: Mapping[str, Any], where: str) -> Described:
    """The record of a student that scl has trained or exported."""
    config = _below(record, "config")
    shape = record.get("image_shape")
    size = shape[1] if isinstance(shape, list) and len(shape) == 3 and shape[1] == shape[2] else None
    model = config.get("student", "plain5") if "config" in record else ""
    plain_network = not any(config.get(name) for name in ("self_taught", "self_taught_from"))
    return _checked(
        Described(
            model=model if isinstance(model, str) and plain_network else "",
            width=number(config.get("width"), 1.0) if "config" in record else None,
            mean=floats(record.get("mean")),
            std=floats(record.get("std")),
            size=size if isinstance(size, int) else None,
            classes=class_names(record.get("classes"), {}),
            accuracy=fraction(record.get("test_acc")),
            where=f"{where} (of scl)",
        )
    )


def of_published_file(name: str) -> Described:
    """Weights that torchvision publishes, by the file's name, which has the beginning of their hash."""
    stem = re.fullmatch(r"(\w+?)-[0-9a-f]{8}\.pth", name)
    if not stem:
        return Described()
    from torchvision import models  # noqa: PLC0415

    for model in models.list_models(module=models):
        if stem[1].startswith(model.split("_")[0]):
            for weights in models.get_model_weights(model):
                if weights.url.endswith(f"/{name}"):
                    made = weights.transforms()
                    return Described(
                        model=f"{TORCHVISION}{model}",
                        mean=tuple(made.mean),
                        std=tuple(made.std),
                        size=made.crop_size[0],
                        interpolation=interpolation_of(made.interpolation.value),
                        classes=class_names(weights.meta.get("categories"), {}),
                        accuracy=None,  # of ImageNet, and of images before they were made smaller
                        where="torchvision, by the name of the file,",
                    )
    return Described()


def _of_timm_model(model: str) -> Described:
    """timm's default input of a model, if timm is installed."""
    if not model.startswith(TIMM):
        return Described()
    try:
        import timm  # noqa: PLC0415

        cfg = timm.get_pretrained_cfg(model.removeprefix(TIMM))
    except Exception:  # not installed, or no such model
        return Described()
    if cfg is None:
        return Described()
    return Described(mean=floats(cfg.mean), std=floats(cfg.std), size=side(cfg.input_size, model))


def _checked(found: Described) -> Described:
    """Raises UserError for a mean or a standard deviation that no pixels in [0, 1] have."""
    mean, std = found.mean, found.std
    if bool(mean) != bool(std):
        return dataclasses.replace(found, mean=(), std=())
    where = f"{found.where}: mean {shown(mean)} and std {shown(std)}"
    if len(mean) not in (0, len(std)) or len(mean) not in (0, 1, 3):
        raise UserError(f"{where} are not one number for each of 1 or 3 channels")
    if any(not 0 <= m <= 1 for m in mean) or any(not sys.float_info.epsilon < s <= 1 for s in std):
        raise UserError(
            f"{where} are not those of pixels in [0, 1] (divide those of 0 to 255 by 255); give "
            "--teacher-mean and --teacher-std"
        )
    return found


def names_in(text: str) -> tuple[str, ...]:
    """Class names of --teacher-classes: a file (a name a line, or JSON), or names between commas. Raises UserError."""
    path = Path(text).expanduser()
    try:
        is_file = path.is_file()
    except OSError:
        is_file = False
    if not is_file:
        names: Sequence[str] = [name.strip() for name in text.split(",")]
    elif path.suffix.lower() == ".json":
        content = read_json(path)
        names = class_names(content, {}) or (of_mapping(content, text).classes if isinstance(content, Mapping) else ())
    else:
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise UserError(f"--teacher-classes {text!r} cannot be read ({type(error).__name__})") from None
    if len(names) < 2 or not all(names):
        kind = "" if is_file else "; there is no such file, and"
        raise UserError(
            f"--teacher-classes {shown(text)}{kind} it must name two classes or more, in the order of the teacher's "
            "logits: A,B,C, or a file with a name a line"
        )
    return tuple(names)

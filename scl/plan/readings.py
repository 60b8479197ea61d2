"""Values as checkpoints and configurations write them: numbers, sizes, interpolations, accuracies, classes, names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scl.errors import UserError
from scl.study.fields import HUBS, MODELS, TIMM, TORCHVISION

RESAMPLE = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers; no Lanczos in torch
MODES = {
    "nearest": "nearest-exact",
    "lanczos": "bicubic",
    "hamming": "bilinear",
    "box": "bilinear",
    "random": "bilinear",
}


def number(value: Any, otherwise: Any) -> Any:
    """The value as a float, or something else if it is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def floats(value: Any) -> tuple[float, ...]:
    """Numbers of a number, a list, or a tensor (C, 1, 1) or (1, C, 1, 1); none if one of them is no number."""
    values = value if isinstance(value, list | tuple) else [value]
    while values and all(isinstance(v, list | tuple) and (len(v) == 1 or len(values) == 1) for v in values):
        values = [each for inner in values for each in inner]
    if not values or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return ()
    return tuple(float(v) for v in values)


def side(value: Any, where: str) -> int | None:
    """The side of square images, of a number, (H, W), (C, H, W), or a dict of transformers; None if it says none.

    Raises:
        UserError: the images are not square.
    """
    if isinstance(value, Mapping):
        value = (
            [value["height"], value["width"]] if "height" in value and "width" in value else value.get("shortest_edge")
        )
    if isinstance(value, list | tuple) and value and all(isinstance(v, int) for v in value):
        sides = list(value[-2:])
        if sides[0] != sides[-1]:
            raise UserError(
                f"{where}: the network takes images of {sides[0]}×{sides[1]} pixels, and scl makes square ones; give "
                "--teacher-size N if it takes those too"
            )
        value = sides[0]
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1 << 14 else None


def interpolation_of(value: Any) -> str:
    """torch's name of an interpolation, of Pillow's number or of a name; '' for others."""
    if isinstance(value, int):
        return RESAMPLE.get(value, "bilinear")
    text = str(value or "").rpartition(".")[2].lower()
    text = MODES.get(text, text)
    return text if text in ("bilinear", "bicubic", "nearest-exact") else ""


def fraction(value: Any) -> float | None:
    """A fraction, of a fraction or of per cent."""
    found = number(value, None)
    if found is None or not 0 < found <= 100:
        return None
    return found if found <= 1 else found / 100


def class_names(value: Any, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the order of the logits, of a list or a mapping of numbers and names; none for LABEL_0, LABEL_1."""
    if isinstance(value, Mapping):
        pairs = [(k, v) for k, v in value.items()]
        if pairs and all(isinstance(v, int) and not isinstance(v, bool) for _, v in pairs):
            pairs = [(v, k) for k, v in pairs]
        try:
            numbered = {int(k): str(v) for k, v in pairs}
        except (TypeError, ValueError):
            return ()
        if sorted(numbered) != list(range(len(numbered))):
            return ()
        value = [numbered[i] for i in range(len(numbered))]
    if not isinstance(value, list | tuple) or len(value) < 2 or not all(isinstance(v, str | int) for v in value):
        return ()
    names = tuple(map(str, value))
    if all(re.fullmatch(r"LABEL_\d+|class_?\d+", name) for name in names):
        return ()
    described = content.get("label_descriptions")
    if isinstance(described, Mapping):  # of timm: names of WordNet, and what they mean
        names = tuple(f"{name}, {described[name]}" if name in described else name for name in names)
    return names


def network_name(value: Any, content: Mapping[str, Any]) -> str:
    """The network's name for scl, of its name elsewhere; '' if there is none."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:/-]{1,100}", value):
        return ""
    if value.startswith(HUBS) or value in MODELS:
        return value
    if "architecture" in content or {"crop_pct", "drop_path"} <= content.keys():
        return f"{TIMM}{value}"
    if "val_crop_size" in content:
        return f"{TORCHVISION}{value}"
    return ""


def transformers_class(content: Mapping[str, Any]) -> str:
    """The class of Hugging Face's transformers that a configuration is of; '' if there is none, or it wraps timm's."""
    named = content.get("architectures")
    if not isinstance(named, list) or not named or "architecture" in content or not isinstance(named[0], str):
        return ""
    return named[0][:80]

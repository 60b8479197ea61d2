"""The fields of study.json, with their types. What does not fit is left out, so that readers may rely on the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Whole:
    """A value whose parts mean something together only: if one does not fit, or `holds` is false, nothing is kept.

    rule: what must hold, for the message.
    """

    of: Any
    holds: Callable[[Any], bool]
    rule: str


@dataclass(frozen=True)
class Fields:
    """A dict with known fields; others may be there. needs: without these, the dict says nothing."""

    of: Mapping[str, Any]
    needs: tuple[str, ...] = ()


def _differs(weights: Mapping[str, float]) -> bool:
    return len(weights) > 1 and abs(math.fsum(weights.values())) <= 1e-6 * max(map(abs, weights.values()))


def _rises(numbers: Sequence[int]) -> bool:
    return bool(numbers) and numbers[0] > 1 and all(a < b for a, b in pairwise(numbers))


# A type, a Fields, a Whole, [items], {str: values}, or a tuple of alternatives. `object` is any JSON value.
NONE = type(None)
LEVEL = (str, bool, float)  # 1 stays 1, and 1.0 stays 1.0
CONFIG = Fields({"losses": {str: Fields({"weight": float, "options": {str: object}})}})
CONTRAST = Fields(dict.fromkeys(("estimate", "low", "high", "p"), (float, NONE)), ("estimate", "low", "high"))
WEIGHTS = Whole({str: float}, _differs, "weights of two arms or more that sum to 0")
DECLARED = {"seen": [int], "declared_after_look": bool}
PAIR = Whole([str], lambda pair: len(pair) == 2, "two arms")
STEIN = {"between": PAIR, "width": float, "cap": int, "pilot_seeds": [int]}
COUNTS = ("train", "val", "test", "classes", "channels", "height", "width")
RANGE = Fields({"low": float, "high": float, "log": bool, "choices": [LEVEL], "if": {str: [LEVEL]}})
SEARCH = Fields(
    {
        **dict.fromkeys(("optuna_study", "storage", "sampler"), str),
        "tried": [str],
        "seeds": int,
        "template": CONFIG,
        "untrained": int,
        "pruner": (Fields({"name": str}), NONE),
        "constraints": ({str: float}, NONE),
        "terminator": (int, NONE),
        "terminated": (str, NONE),
    }
)

PLANNED = [Fields({"arm": str, "seed": int, "trial_id": str}, ("arm", "seed", "trial_id"))]
MARGIN = Whole(float, lambda margin: 0 < margin < 1, "a fraction above 0 and below 1")
LOOKS = Whole([int], _rises, "numbers of seeds that rise, from 2")
GIT = Fields({"commit": str, "dirty": bool})
# What declared.json holds, and study.json under `declaration`.
DECLARATION = Fields(
    {
        **dict.fromkeys(("study", "question", "baseline", "metric", "direction", "command", "when", "sha256"), str),
        "arms": {str: CONFIG},
        "seeds": [int],
        "plan": PLANNED,
        "contrasts": [Fields({"question": str, "weights": WEIGHTS}, ("question", "weights"))],
        "against_teacher": (str, NONE),
        "roles": ({str: str}, NONE),
        "constraints": ({str: float}, NONE),
        "margin": (MARGIN, NONE),
        "search": (
            Fields(
                {
                    "trials": int,
                    "space": {str: RANGE},
                    "template": CONFIG,
                    "objectives": [str],
                    "constraints": ({str: float}, NONE),
                }
            ),
            NONE,
        ),
        "rule": Fields(
            {
                **dict.fromkeys(("test", "stopping"), str),
                "level": float,
                "seeds": int,
                "family": int,
                "looks": (LOOKS, NONE),
                "interval": (Fields(STEIN, tuple(STEIN)), NONE),
            },
            ("seeds",),
        ),
        "teacher": Fields({"config": CONFIG, "ids": {str: str}, "trained_before": int}),
        "data": Fields({"name": str, "fingerprint": str}),
        "git": (GIT, NONE),
        "versions": {str: (str, NONE)},
    },
    ("baseline", "arms", "seeds", "plan", "metric", "rule", "when"),
)

STUDY = Fields(
    {
        **dict.fromkeys(
            ("study", "question", "baseline", "design", "metric", "direction", "selection", "command"), str
        ),
        **dict.fromkeys(("started", "ended", "plan_id", "auto_augment"), str),
        **dict.fromkeys(("schema_version", "slots", "cpus_per_trial"), int),
        "wall_seconds": float,
        "asked": Fields({"by": str, "script": str, "in_git": bool, "options": {str: [str]}, "lacking": [str]}),
        "scale": (str, NONE),
        "device": (str, NONE),
        "arms": {str: CONFIG},
        "factors": ({str: ([LEVEL], Fields({"levels": [LEVEL]}))}, NONE),
        "arm_levels": ({str: {str: LEVEL}}, NONE),
        "search_space": (
            {str: Fields({"low": float, "high": float, "log": bool, "choices": [LEVEL], "if": {str: [LEVEL]}})},
            NONE,
        ),
        "objectives": ({str: str}, [Fields({"name": str, "direction": str}, ("name",))], NONE),
        "winners": ({str: Fields({"number": int, "trial_id": str, "params": ({str: object}, NONE)})}, NONE),
        "search": (SEARCH, NONE),
        "class_names": [str],
        "constraints": {str: float},
        "metric_seen": [int],
        "metric_after_look": bool,
        "pictures": bool,
        "class_counts": {str: [int]},
        "seeds": [int],
        "plan": PLANNED,
        "declaration": ({str: object}, NONE),  # its parts are fitted where they are read, after their hash was taken
        "looks": [
            Fields(
                {
                    "when": str,
                    "seeds": ([int], int),
                    "differences": {str: CONTRAST},
                    "planned": bool,
                    "of": str,
                    "metric": str,
                },
                ("seeds",),
            )
        ],
        "declared": (Fields({"arm": str, "against": str, **DECLARED}, ("arm",)), NONE),
        "contrasts": (
            [Fields({"question": str, "weights": WEIGHTS, "lacks": [str], **DECLARED}, ("question", "weights"))],
            NONE,
        ),
        "withdrawn": ([Fields({"question": str, "weights": WEIGHTS, **DECLARED}, ("question", "weights"))], NONE),
        "roles": ({str: str}, NONE),
        "margin": (MARGIN, NONE),
        "margin_seen": [int],
        "margin_after_look": bool,
        "planned_looks": (LOOKS, NONE),
        "stein": (
            Fields(
                {
                    **STEIN,
                    **dict.fromkeys(("pilot", "wanted", "seeds", "n"), int),
                    **dict.fromkeys(("pilot_sd", "estimate", "low", "high"), float),
                    "declared": (str, NONE),
                },
                ("between", "width", "pilot", "n", "estimate", "low", "high"),
            ),
            NONE,
        ),
        "stein_declared": ([Fields({**STEIN, "trials": str, "when": str}, (*STEIN, "trials"))], NONE),
        "published": (
            Fields(
                {"accuracy": {str: float}, "source": str, "otherwise": {str: str}}, ("accuracy", "source", "otherwise")
            ),
            NONE,
        ),
        "git": (GIT, NONE),
        "versions": {str: (str, NONE)},
        "hardware": Fields({"cpu": str, "cores": int, "memory_gb": float, "gpus": [str]}),
        "data": Fields(
            {
                **dict.fromkeys(("name", "fingerprint", "note", "auto_augment"), str),
                **dict.fromkeys(COUNTS, int),
                "limit": (int, NONE),
                "val_share": float,
                "split_seed": int,
            }
        ),
        "teacher": Fields(
            {
                **dict.fromkeys(("model", "source"), str),
                "width": float,
                "epochs": int,
                "per_seed": bool,
                "config": CONFIG,
                "ids": {str: str},
                **dict.fromkeys(("teachers", "params", "macs"), int),
                "of_seed": {str: int},
                "train_seconds": {str: float},
                "energy_joules": {str: float},
                "energy_source": str,
                "test_acc": {str: (float, NONE)},
            }
        ),
    }
)
NAMES = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", NONE: "null"}


class Misfit(Exception):
    """A value that cannot be kept."""


def fitted(study: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The content of study.json without what does not fit, and a sentence for each thing left out."""
    problems: list[str] = []
    return dict(_fit(study, STUDY, "", problems)), problems


def declaration_fitted(declared: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """A declaration without what does not fit, or None if it says too little then; and a sentence for each problem."""
    problems: list[str] = []
    found = _kept(declared, DECLARATION, "the declaration", problems)
    return (found[0] if found else None), problems


def _fit(value: Any, shape: Any, where: str, problems: list[str]) -> Any:
    """The value without the parts that do not fit, which `problems` names. Raises Misfit if nothing can be kept."""
    if isinstance(shape, tuple):
        shape = next((s for s in shape if _is_kind(value, s)), shape)
    if not _is_kind(value, shape):
        raise Misfit(f"{where} must be {_rule(shape)}, got {_short(value)}")
    if isinstance(shape, Whole):
        wrong: list[str] = []
        found = _fit(value, shape.of, where, wrong)
        if wrong or not shape.holds(found):
            raise Misfit(wrong[0] if wrong else f"{where} must be {shape.rule}, got {_short(value)}")
        return found
    if isinstance(shape, list):
        items = [(f"{where}[{i}]", item, shape[0]) for i, item in enumerate(value)]
        return [kept for name, item, of in items for kept in _kept(item, of, name, problems)]
    if isinstance(shape, dict):
        return {k: kept for k, v in value.items() for kept in _kept(v, shape[str], f"{where}.{k}", problems)}
    if isinstance(shape, Fields):
        before = len(problems)
        named = ((k, v, f"{where}.{k}" if where else k) for k, v in value.items())
        found = {k: kept for k, v, at in named for kept in _kept(v, shape.of.get(k, object), at, problems)}
        if absent := [name for name in shape.needs if name not in found]:
            why = problems[before] if len(problems) > before else f"{where} has no {absent[0]}"
            del problems[before:]
            raise Misfit(why)
        return found
    return int(value) if shape is int else value


def _kept(value: Any, shape: Any, where: str, problems: list[str]) -> list[Any]:
    """The value in a list; an empty list if it is left out."""
    try:
        return [_fit(value, shape, where, problems)]
    except Misfit as misfit:
        problems.append(str(misfit))
        return []


def _is_kind(value: Any, shape: Any) -> bool:
    if shape is object:
        return True
    if isinstance(shape, Whole):
        return _is_kind(value, shape.of)
    if isinstance(shape, (dict, Fields)):
        return isinstance(value, dict)
    if isinstance(shape, list):
        return isinstance(value, list)
    if shape in (int, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63
        return number and math.isfinite(value) and (shape is float or float(value).is_integer())
    return isinstance(shape, type) and isinstance(value, shape)


def _rule(shape: Any) -> str:
    if isinstance(shape, Whole):
        return shape.rule
    if isinstance(shape, tuple):
        return " or ".join(dict.fromkeys(map(_rule, shape)))
    return "a list" if isinstance(shape, list) else NAMES.get(shape, "a dict") if isinstance(shape, type) else "a dict"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"

"""What identifies a trial: its configuration in canonical form, and the ids that are made of it.

An id is the SHA-256 of the canonical JSON of what determines a trial's numbers, so it is the same on any machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scl.study.config import Config
from scl.study.fields import HUBS, READ_BY
from scl.study.loss_table import OF_CLASSES, OF_MAPS
from scl.study.term import loss_row, requested_term

# Raised by hand when a change of code changes numbers: it is part of every trial's id.
RESULTS_VERSION = 5
# Raised by hand when other guided layers are found by stage in networks of other libraries: it is part of the ids of
# trials that compare such layers.
LAYERS_FOUND = 2

DEFAULTS = {f.name: f.default for f in dataclasses.fields(Config)}
# Fields that were renamed after results had been stored: ids and columns keep the first name.
STORED_NAMES = {"model": "student"}


def stored_name(name: str) -> str:
    """The name of a field in stored JSON and columns."""
    return STORED_NAMES.get(name, name)


def from_stored(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Stored fields of a configuration under their present names."""
    present = {stored: name for name, stored in STORED_NAMES.items()}
    return {present.get(name, name): value for name, value in plain.items()}


def requested(config: Config) -> dict[str, Any]:
    """The configuration without its defaults, as JSON-able values: what identifies it."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "losses"}
    changed = {name: value for name, value in values.items() if value != DEFAULTS[name]}
    plain = {stored_name(name): value for name, value in {**changed, **config.hashes}.items()}
    losses = {name: requested_term(name, term) for name, term in config.losses.items()}
    return {**plain, **({"losses": losses} if losses else {})}


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. What ids are the SHA-256 of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def effective(config: Config) -> dict[str, Any]:
    """`requested` without what has no effect: configurations with equal results train the same network."""
    plain = requested(config)
    if not config.has_self_taught:
        for name in ("self_taught", "self_taught_at", "self_taught_from", "guided"):
            plain.pop(name, None)
    published = config.normalisation == "published" or (config.normalisation == "auto" and config.pretrained)
    plain = {**plain, "normalisation": "published"} if published else plain
    if not published:
        plain.pop("normalisation", None)
    if config.schedule != "multistep":
        plain.pop("milestones", None)
        plain.pop("lr_decay", None)
    for name, optimizers in READ_BY.items():
        if config.optimizer not in optimizers:
            plain.pop(name, None)
    if config.weight_decay == 0:
        plain.pop("decay_norms", None)
    if config.ce == 0:
        plain.pop("label_smoothing", None)
        plain.pop("class_weights", None)
    terms = {name: term for name, term in plain.pop("losses", {}).items() if term["weight"] > 0}
    if not terms:
        plain.pop("taught_by", None)
        plain.pop("mean_of", None)
    compared = {loss_row(term).compares for term in config.losses.values() if term.weight > 0}
    if not config.has_self_taught and compared <= set(OF_CLASSES):
        plain.pop("layers", None)
    for term in terms.values():
        if term.get("warmup", 0) <= 1:
            term.pop("warmup", None)
        stage = config.pretrain_epochs if term.get("stage") == "pretrain" else config.epochs
        if term.get("end", 0) >= stage:
            term.pop("end", None)
    return {**plain, **({"losses": terms} if terms else {})}


@dataclass(frozen=True)
class Trial:
    """A planned trial: an arm at a seed, with its ids."""

    arm: str
    seed: int
    config: Config
    config_id: str
    trial_id: str
    teacher_id: str


def teacher_id(config: Config, seed: int, data: str, by: str | None = None) -> str:
    """The id of a teacher that is trained here: its recipe, its seed, its data, and `by`, the id of its own teacher."""
    taught = {} if by is None else {"by": by}
    return sha256({"teacher": requested(config), "seed": seed, "data": data, "version": RESULTS_VERSION, **taught})


def mean_id(ids: Sequence[str]) -> str:
    """The id of several teachers whose logits are averaged; of one, its own."""
    return ids[0] if len(ids) == 1 else sha256({"mean_of_logits": list(ids)})


def trials_of(
    arms: Mapping[str, Config],
    seeds: Sequence[int],
    data: str,
    teacher: Callable[[int], str],
    teacher_model: Any = "plain11",
    taught: Mapping[tuple[str, int], str] | None = None,
) -> list[Trial]:
    """Every arm at every seed, seeds as paired blocks.

    Args:
        data: a fingerprint. teacher: a seed → its teacher's id. teacher_model: the teacher's `Config.model`.
        taught: arm and seed → the id of its teachers, of arms that have others than the study's.
    """
    others = taught or {}
    asked = {arm: requested(config) for arm, config in arms.items()}
    config_ids = {arm: sha256(plain) for arm, plain in asked.items()}
    shared = {"data": data, "version": RESULTS_VERSION}
    found = {"layers_found": LAYERS_FOUND}
    by_rule = {arm: found if _compares_found_layers(config, teacher_model) else {} for arm, config in arms.items()}
    trials = []
    for seed in seeds:
        for arm, config in arms.items():
            by = others.get((arm, seed), teacher(seed))
            trial_id = sha256({**shared, **by_rule[arm], "config": asked[arm], "seed": seed, "teacher": by})
            trials.append(Trial(arm, seed, config, config_ids[arm], trial_id, by))
    return trials


def _compares_found_layers(config: Config, teacher_model: Any) -> bool:
    """Whether a loss compares maps of layers that were found in a network of another library, and not named."""
    maps = any(term.weight > 0 and loss_row(term).compares in OF_MAPS for term in config.losses.values())
    networks = ((config.model, config.layers), (teacher_model, config.teacher_layers))
    return maps and any(isinstance(model, str) and model.startswith(HUBS) and not named for model, named in networks)


def stream_seed(*names: object) -> int:
    """A seed of its own for each random stream, the same on every machine."""
    return int.from_bytes(hashlib.sha256(canonical_json(names).encode()).digest()[:8], "big") >> 1

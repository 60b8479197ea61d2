"""The whole recipe of a study in words and figures: every setting of each arm, defaults too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scl.report.formatting import enumerated, plain, plural
from scl.study.fields import READ_BY
from scl.study.identity import DEFAULTS, from_stored
from scl.study.loss_table import LOSSES

Fields = Mapping[str, Any]


def whole(stored: Fields) -> dict[str, Any]:
    """A configuration as study.json holds it, with the defaults of what it leaves out, by present names."""
    losses = {}
    for name, term in (stored.get("losses") or {}).items():
        row = _row(name, term)
        losses[name] = {**term, "options": {**(row.options if row else {}), **(term.get("options") or {})}}
    return {**DEFAULTS, **from_stored(stored), "losses": losses}


def recipe(arms: Mapping[str, Fields], auto: str) -> tuple[list[tuple[str, str]], dict[str, dict[str, str]]]:
    """What all arms share, as (heading, text), and heading → arm → text for the rest.

    arms: their configurations, as study.json holds them. auto: what the augmentation `auto` is on these data.
    """
    texts = {arm: parts(stored, auto) for arm, stored in arms.items()}
    shared, own = [], {}
    for heading in PARTS:
        by_arm = {arm: of[heading] for arm, of in texts.items()}
        if len(set(by_arm.values())) == 1:
            shared.append((heading, next(iter(by_arm.values()))))
        else:
            own[heading] = by_arm
    return [(heading, text) for heading, text in shared if text], own


def parts(stored: Fields, auto: str) -> dict[str, str]:
    """Heading → text of one configuration; a text is empty if there is nothing to say."""
    fields = whole(stored)
    return {heading: _said(say, fields, auto) for heading, say in PARTS.items()}


def _said(say: Callable[[Fields, str], Sequence[str]], fields: Fields, auto: str) -> str:
    try:
        return "; ".join(filter(None, say(fields, auto)))
    except (TypeError, ValueError, AttributeError, LookupError):
        return "not as scl writes it: another program changed study.json"


def short(stored: Fields) -> str:
    """The objective in one line, as `cross-entropy × 0.1 + kd × 0.9 (temperature 4)`."""
    return _terms(whole(stored))


# What each heading says of a configuration


def _network(fields: Fields, auto: str) -> Sequence[str]:
    model = fields["model"]
    name = model if isinstance(model, str) else f"{model.get('class') or model.get('function') or 'own network'}"
    starts = (
        "from published weights"
        if fields["pretrained"]
        else "from weights in a file"
        if fields["initial_weights"]
        else "weights drawn from the seed"
    )
    k, at, source = fields["self_taught"], fields["self_taught_at"], fields["self_taught_from"]
    taught = (
        "" if not k or k == [0] else f"self-taught neurons: {_text(k)}, at {at}, {source}, guided {fields['guided']}"
    )
    rates = [f"{n.replace('_', ' ')} {_text(fields[n])}" for n in ("dropout", "drop_path") if fields[n] is not None]
    return [
        f"{plain(name)}" + (f" × {_text(fields['width'])} (width)" if fields["width"] != 1 else ""),
        starts,
        taught,
        f"projector to {fields['projector']} channels" if fields["projector"] else "",
        f"expanded to {fields['expansion']} channels in training" if fields["expansion"] else "",
        f"normalised by: {fields['normalisation']}" * (fields["normalisation"] != "auto"),
        *rates,
    ]


def _objective(fields: Fields, auto: str) -> Sequence[str]:
    compared = {_row(name, term).compares for name, term in fields["losses"].items() if _row(name, term)}
    maps = compared - {"cams", "logits"} or (fields["losses"] and not compared)
    about = f"guided maps: tap {fields['tap']}, connector {fields['connector']}" if maps else ""
    smooth, weights = fields["label_smoothing"], fields["class_weights"]
    return [
        _terms(fields),
        f"label smoothing {_text(smooth)}" if smooth else "",
        f"classes weighed: {weights}" if weights != "none" else "",
        about,
    ]


def _terms(fields: Fields) -> str:
    terms = [f"cross-entropy × {_text(fields['ce'])}"] if fields["ce"] else []
    for name, term in sorted(fields["losses"].items()):
        loss, row = term.get("loss"), _row(name, term)
        of = "" if not loss else f" [{plain(loss if isinstance(loss, str) else loss.get('function', 'own loss'))}]"
        said = [f"{option} {_text(value)}" for option, value in sorted(term["options"].items()) if value != "none"]
        layers = term.get("layers", row.layers if row else None)
        said += [f"layers {_text(layers)}"] if layers else []
        others = [what for what in ("share", "warmup", "end", "stage", "version") if what in term]
        said += [f"{what} {_text(term[what])}" for what in others]
        terms.append(f"{plain(name)}{of} × {_text(term.get('weight', 1))}" + (f" ({', '.join(said)})" if said else ""))
    return " + ".join(terms)


def _row(name: str, term: Fields) -> Any:
    """The row of a built-in loss; None of a user's."""
    loss = term.get("loss", name)
    return LOSSES.get(loss) if isinstance(loss, str) else None


def _optimizer(fields: Fields, auto: str) -> Sequence[str]:
    name = fields["optimizer"]
    own = {n: fields[n] for n, optimizers in READ_BY.items() if name in optimizers}
    nesterov = own.pop("nesterov", None)
    decays = "all parameters" if fields["decay_norms"] else "weights alone, not biases and norms"
    return [
        " ".join([name, *(f"{n} {_text(v)}" for n, v in own.items())]) + (" with Nesterov" if nesterov else ""),
        f"weight decay {_text(fields['weight_decay'])}" + (f" of {decays}" if fields["weight_decay"] else ""),
        f"gradients clipped to norm {_text(fields['clip_norm'])}" if fields["clip_norm"] else "",
        f"{fields['accumulate']} batches a step" if fields["accumulate"] != 1 else "",
        f"rate of the classifier × {_text(fields['head_lr'])}" if fields["head_lr"] != 1 else "",
        f"rate × {_text(fields['layer_decay'])} for each layer before it" if fields["layer_decay"] != 1 else "",
        f"average of the weights kept, decay {_text(fields['ema'])}" if fields["ema"] else "",
    ]


def _rate(fields: Fields, auto: str) -> Sequence[str]:
    lr, warm, schedule = _text(fields["lr"]), fields["warmup_epochs"], fields["schedule"]
    if schedule == "onecycle":
        return [f"{lr} at the peak of one cycle: up from 1/25 of it in the first 30 % of the epochs, down to 1/250,000"]
    first = f"linear warm-up over {plural(warm, 'epoch')}, then " if warm else ""
    if schedule == "multistep":
        return [f"{lr}: {first}× {_text(fields['lr_decay'])} after epoch {_listed(fields['milestones'])}"]
    return [f"{lr}: {first}cosine to 0 over {plural(max(fields['epochs'] - warm, 1), 'epoch')}"]


def _length(fields: Fields, auto: str) -> Sequence[str]:
    patience = fields["patience"]
    ends = f"ends after {plural(patience, 'epoch')} without a better validation accuracy, and keeps the best"
    return [
        f"{plural(fields['pretrain_epochs'], 'epoch')} of pre-training" if fields["pretrain_epochs"] else "",
        plural(fields["epochs"], "epoch"),
        ends if patience else "the last one counts",
    ]


def _batches(fields: Fields, auto: str) -> Sequence[str]:
    how = (
        "each class equally often" if fields["sampling"] == "balanced" else "each image once an epoch, in random order"
    )
    shared = "the same for all seeds, and so is their augmentation" if fields["shared_batches"] else ""
    return [f"{fields['batch_size']:,} images, {how}", shared]


def _augmentation(fields: Fields, auto: str) -> Sequence[str]:
    given = fields["augment"]
    here = "+".join(auto if word == "auto" else word for word in given.split("+"))
    return [given if not auto or here == given else f"{given}, here {here}"]


def _precision(fields: Fields, auto: str) -> Sequence[str]:
    meaning: dict[str, str] = {
        "auto": "auto: bf16 on a GPU, fp32 on a CPU; losses in fp32",
        "bf16": "bf16, losses in fp32",
    }
    given = str(fields["precision"])
    fused = "batch norm, ReLU and pooling in fused kernels"
    return [meaning.get(given, given), *([fused] if fields["kernels"] == "fused" else [])]


PARTS: dict[str, Callable[[Fields, str], Sequence[str]]] = {
    "Network": _network,
    "Objective": _objective,
    "Optimizer": _optimizer,
    "Learning rate": _rate,
    "Length": _length,
    "Batches": _batches,
    "Augmentation": _augmentation,
    "Precision": _precision,
}


def _listed(values: Sequence[Any]) -> str:
    return enumerated([_text(value) for value in values])


def _text(value: Any) -> str:
    """A setting with all its digits."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else plain(value)

"""The weights that students start from: published ones, or those in a user's file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.errors import UserError, shown
from scl.models.build import pretrained, published_normalisation
from scl.models.networks import build_student
from scl.plan.given import misfit, unprefixed
from scl.study.config import Config
from scl.study.identity import effective
from scl.terminal import say
from scl.train.weights import open_checkpoint

FLAG = "--student-weights"


def initial_weights(config: Config, data: SplitData) -> dict[str, Tensor] | None:
    """The weights that every trial of a configuration starts from, whatever its seed, by their names in the network; a
    last layer for other classes is not among them. None: all come from the seed.

    With them are the constants of `TappedModel.renormalise` if the network sees its published normalisation.

    Raises:
        UserError: there are no such weights, or they are not those of this network.
    """
    published = effective(config).get("normalisation") == "published"
    if not (config.pretrained or config.initial_weights or published):
        return None
    model = build_student(config, data, 0)
    weights: dict[str, Tensor] = {}
    if config.pretrained:
        weights, _ = pretrained(str(config.model), model)
    elif config.initial_weights:
        weights = _from_file(config, model, data.classes)
    if published:
        mean, std = (torch.tensor(values) for values in published_normalisation(str(config.model)))
        weights |= {"scale": data.std.cpu() / std, "shift": (data.mean.cpu() - mean) / std}
    return weights


def _from_file(config: Config, model: nn.Module, classes: int) -> dict[str, Tensor]:
    """The tensors of a file that fit a network; its last layers and projector start fresh where the file lacks them, or
    has others.

    Raises:
        UserError: another tensor is missing or has another shape, or the numbers cannot train.
    """
    file, wanted = config.initial_weights, model.state_dict()
    where = f"{FLAG} {shown(file)}"
    checkpoint = open_checkpoint(file, FLAG)
    given, short = checkpoint.weights(), {_short(name): name for name in wanted}
    # The names in the file without the prefixes that all share, as far as most of them are the network's.
    named = max(unprefixed(checkpoint.shapes), key=lambda names: len({*map(_short, names)} & short.keys()))
    found = {short[_short(name)]: given[theirs] for name, (theirs, _) in named.items() if _short(name) in short}
    fresh = [name for name, old in wanted.items() if name not in found or found[name].shape != old.shape]
    # A network without this projector may have trained the file, and its last layer read another map.
    without = config.projector > 0 and any(name.startswith("projector.") for name in fresh)
    new = [name for name in wanted if without and name.startswith(("projector.", "classifier."))]
    fresh = [name for name in fresh if name not in new]
    heads = {name.rpartition(".")[0] for name in fresh}
    of_heads = [name for name in wanted if name.rpartition(".")[0] in heads]
    last = of_heads == fresh and all(wanted[name].shape[:1] == (classes,) for name in fresh)
    if len(fresh) == len(wanted) or not last or len(heads) > 2:
        shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
        raise UserError(
            f"{where} does not fit {config.model_name} with {classes} classes "
            f"({misfit(checkpoint.shapes, shapes, by_order=False)}); give weights of this network, whose last layer "
            "may be for other classes"
        )
    kept = {}
    for name, tensor in found.items():
        if name in fresh or name in new:
            continue
        kept[name] = tensor.to(wanted[name].dtype, copy=True)
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise UserError(f"{where}: {name} is {tensor.dtype}, and the network's is {wanted[name].dtype}")
        if torch.isfinite(wanted[name]).all() and not torch.isfinite(kept[name]).all():
            raise UserError(f"{where}: {name} has numbers that are not finite; give a checkpoint that trained")
    unused = [name for name in named if _short(name) not in short]
    parts = [f"{len(kept)} of {len(wanted)} tensors"]
    parts += [f"its averaged weights ({'.'.join(checkpoint.key)})"] if checkpoint.averaged else []
    begin = [*sorted(heads), *(("classifier", "projector") if without else ())]
    parts += [f"{', '.join(begin)} starts fresh"] if begin else []
    parts += [f"{len(unused)} of the file are not used ({', '.join(unused[:3])}{', …' * (len(unused) > 3)})"] * bool(
        unused
    )
    say(f"{where}: {'; '.join(parts)}")
    return kept


def _short(name: str) -> str:
    return name.removeprefix("net.")

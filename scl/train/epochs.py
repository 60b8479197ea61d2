"""The row of an epoch: what a student's losses and its evaluation came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.train.evaluation import by_class, top5
from scl.train.schedule import learning_rate
from scl.train.shares import Shares
from scl.train.types import TrialFailure, TrialSpec


def epoch_row(
    trial: TrialSpec,
    epoch: int,
    values: Tensor,
    right: float,
    sizes: Sequence[int],
    weights: Mapping[str, float],
    shares: Shares,
    evaluated: Mapping[str, tuple[Tensor, Tensor]],
) -> dict[str, Any]:
    """The columns of an epoch.

    Args:
        values: of each step and term (steps, terms), float64 on the CPU.
        right: how many training images were classified rightly.
        sizes: the number of images in each step.
        weights: term → its weight in this epoch, in the order of `values`.
        evaluated: `val` and `test` → logits (N, K) and labels (N,), as far as they were evaluated.

    Raises:
        TrialFailure: a term or a logit is not finite.
    """
    config, names = trial.config, list(weights)
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        step, column = bad[0].tolist()
        name, value = names[column], values[step, column].item()
        each = ", ".join(f"{term} {weight:g}" for term, weight in weights.items())
        raise TrialFailure(
            f"loss term {name!r} became {value} at epoch {epoch}, step {step + 1} of {len(sizes)}; "
            f"lower lr ({config.lr:g}), or a term's weight or share (weights: {each}), or use a warm-up"
        )
    share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    means = {name: float((values[:, i] * share).sum()) for i, name in enumerate(names)}
    weighted = {name: weights[name] * mean for name, mean in means.items()}
    weighted |= shares.weighted(names, values, share)
    row: dict[str, Any] = {
        "trial_id": trial.id,
        "epoch": epoch,
        "lr": learning_rate(config, epoch - 1 + 0.5 / len(sizes)),
        "train_loss": sum(weighted.values()),
        "train_acc": right / sum(sizes),
        **{f"term.{name}": mean for name, mean in means.items()},
        **{f"weighted.{name}": value for name, value in weighted.items()},
        **shares.columns(),
    }
    for part, (logits, labels) in evaluated.items():
        if not torch.isfinite(logits).all():
            raise TrialFailure(f"{part} logits are not finite after epoch {epoch}, step {len(sizes)}; lower lr")
        if len(labels):
            row[f"{part}_acc"] = (logits.argmax(1) == labels).double().mean().item()
    if "val_acc" in row:
        logits, labels = evaluated["val"]
        row["val_loss"] = F.cross_entropy(logits, labels).item()
        row["val_balanced_acc"], row["val_macro_f1"] = by_class(logits.argmax(1), labels, logits.shape[1])
        row["val_acc5"] = top5(logits, labels)
    return row

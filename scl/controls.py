"""Controls for "it is only the extra parameters": what an arm with self-taught neurons is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scl.config import SAME_CHANNELS, Term, UserError


def self_taught_controls(name: str, arm: Mapping[str, Any], k: int) -> dict[str, dict[str, Any]]:
    """An arm with k self-taught neurons a guided layer and its controls, by name.

    name, arm: the arm without self-taught neurons, as its name and its changes.

    NAME k=K           the arm: C + k channels, the first C guided
    … all guided       the same width, all C + k guided, which takes a connector where a loss wants equal channels
    … connector        the first C guided, through a connector too, so that it is not the connector that differs
                       (only where a loss takes connectors and the arm has not asked for them always; student and
                       teacher of unequal widths have them anyway: there it is the arm again)
    … unguided         the same width, no transfer loss
    … taken            C − k guided of C: self-taught neurons without extra parameters (not of a branch, which is
                       beside the C channels)

    A fifth control needs no training: the test accuracy with self-taught channels at zero is stored for each trial
    as `test_acc_muted`.

    Raises:
        UserError: k is not above 0, or the arm has no transfer loss.
    """
    if k < 1:
        raise UserError(f"controls are for self-taught neurons: k must be 1 or more, got {k}")
    if not arm.get("losses"):
        raise UserError(f"arm {name!r} has no transfer loss, so nothing in it is guided; controls say nothing about it")
    widened = {**arm, "self_taught": k}
    controls = {
        f"{name} k={k}": widened,
        f"{name} k={k} all guided": {**widened, "guided": "all"},
        f"{name} k={k} unguided": {**widened, "losses": {}, "ce": 1.0, "pretrain_epochs": 0},
    }
    losses = [term.loss or loss if isinstance(term, Term) else loss for loss, term in arm["losses"].items()]
    if arm.get("connector") != "always" and any(loss in SAME_CHANNELS for loss in losses):
        controls[f"{name} k={k} connector"] = {**widened, "connector": "always"}
    if arm.get("self_taught_at") != "branch":
        controls[f"{name} k={k} taken"] = {**widened, "self_taught_from": "taken"}
    return controls

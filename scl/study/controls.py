"""Controls that separate self-taught neurons from the extra parameters they bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scl.errors import UserError, definition
from scl.study.designs import Design
from scl.study.loss_table import LOSSES
from scl.study.term import Term


@definition
def self_taught_controls(name: str, arm: Mapping[str, Any], k: int) -> Design:
    """An arm with k self-taught neurons at each guided layer, and its controls.

    - `NAME k=K`: the arm: C + k channels, the first C guided.
    - `… all guided`: the same width, all C + k channels guided, with a connector if a loss needs equal channels.
    - `… connector`: the first C guided, with a connector as well, so that the connector is not the difference. Only if
      a loss can have a connector and the arm does not already have one everywhere. If student and teacher have unequal
      widths, this control equals the arm.
    - `… unguided`: the same width, no transfer loss.
    - `… taken`: C − k of C channels guided: self-taught neurons without extra parameters. Not for
      `self_taught_at="branch"`, which lies beside the C channels.

    A fifth control needs no training: `test_acc_muted`, the test accuracy with self-taught channels at zero, is stored
    for every trial that has such channels.

    The design declares one contrast, the arm minus `… unguided`, and marks the controls as such.

    Args:
        name: the name of the arm without self-taught neurons.
        arm: what that arm changes.
        k: number of self-taught neurons of each guided layer, 1 or more.

    Raises:
        UserError: k is below 1, or the arm has no transfer loss.

    Example:
        from scl import controls

        arms = {"baseline": {}} | controls.self_taught_controls("channel", {"losses": {"channel": 0.3}}, k=4)
    """
    if k < 1:
        raise UserError(f"k, the number of self-taught neurons, must be 1 or more, got {k}")
    if not arm.get("losses"):
        raise UserError(f"arm {name!r} has no transfer loss, so no layer is guided and controls have no meaning")
    widened = {**arm, "self_taught": k}
    own = f"{name} k={k}"
    unguided = f"{own} unguided"
    controls = {
        f"{own} all guided": {**widened, "guided": "all"},
        unguided: {**widened, "losses": {}, "ce": 1.0, "pretrain_epochs": 0},
    }
    losses = [term.loss or loss if isinstance(term, Term) else loss for loss, term in arm["losses"].items()]
    connected = any(loss in LOSSES and LOSSES[loss].same_channels for loss in losses)
    if arm.get("connector") != "always" and connected:
        controls[f"{own} connector"] = {**widened, "connector": "always"}
    if arm.get("self_taught_at") != "branch":
        controls[f"{own} taken"] = {**widened, "self_taught_from": "taken"}
    return Design(
        {own: widened, **controls},
        contrasts={f"Is {own} more than its extra parameters?": (own, unguided)},
        roles=dict.fromkeys(controls, "control"),
    )

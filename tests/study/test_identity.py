"""Ids are promises: what moves a number moves the id, and nothing else does."""

from __future__ import annotations

import pytest

from scl.study.config import Config
from scl.study.identity import canonical_json, requested, teacher_id, trials_of
from scl.study.term import Term

ARMS = {"baseline": Config(), "kd": Config(ce=0.1, losses={"kd": 0.9}), "at": Config(losses={"at": 10})}


def test_golden_ids() -> None:
    """Ids are promises: a stored trial is found again by any later version. Raise RESULTS_VERSION, not these."""
    kd = trials_of(ARMS, [7], "data", lambda seed: "teacher")[1]
    assert canonical_json(requested(kd.config)) == '{"ce":0.1,"losses":{"kd":{"weight":0.9}}}'
    assert kd.config_id == "ea4e63d226957bb6293a4d2d33bbe0ba48e8f0fa528ff93137a71e3d0618f16b"
    assert kd.trial_id == "aec2cbea55aa1e3d755e226280cdbb54c516343cd05162383f490c22a556ef06"
    assert (
        teacher_id(Config(model="plain11"), 0, "data")
        == "f4825cc7fed2f672b49882cd983e9ee3acf2ea69575d6f6e9cfe0ed32ec006e1"
    )


def test_ids_do_not_depend_on_spelling() -> None:
    one = Config(lr=1, losses={"kd": 1, "at": 2})
    two = Config(losses={"at": Term(2.0), "kd": Term(1.0, loss="kd", options={"temperature": 4})}, lr=1.0)
    assert requested(one) == requested(two)
    assert canonical_json(requested(one)) == canonical_json(requested(two))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.2}, {"self_taught": 1}, {"losses": {"kd": 1}}, {"losses": {"kd": Term(1, warmup=2)}},
        {"losses": {"kd": Term(1, options={"temperature": 2})}}, {"precision": "fp32"},
    ],
)  # fmt: skip
def test_what_moves_numbers_moves_the_id(change: dict[str, object]) -> None:
    assert requested(Config()) != requested(Config().replace(**change))


def test_an_own_loss_is_its_source() -> None:
    def mine(student: object, teacher: object) -> float:
        return 0.0

    def other(student: object, teacher: object) -> float:
        return 1.0

    one, two = (requested(Config(losses={"mine": Term(1.0, loss=f)})) for f in (mine, other))
    assert one["losses"]["mine"]["loss"]["sha256"] != two["losses"]["mine"]["loss"]["sha256"]

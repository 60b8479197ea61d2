"""What a teacher gives for an epoch is computed once, and changes no number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scl.data.batches import SplitData
from scl.models.staged import HEAD, Features
from scl.study.term import Term
from scl.train import kept_features
from scl.train.checkpoint import unpack
from scl.train.kept_features import KeptEpoch
from scl.train.loop import train_cohort
from scl.train.teacher import Teacher, mean_teacher
from scl.train.types import TrialEnded, TrialSpec
from tests.support.studies import CPU
from tests.support.training import ARMS, BASE, Shelf, counted_forwards, ends

TWO = BASE.replace(epochs=2)
READ_THE_HEAD = {
    **{
        name: TWO.replace(losses={name: 0.5})
        for name in ("kd", "dkd", "dist", "nkd", "wttm", "logit", "pkt", "rkd", "cc")
    },
    "a share": TWO.replace(losses={"kd": Term(share=0.3)}),
    "an average of its own weights": TWO.replace(losses={"kd": 0.5}, ema=0.9, taught_by=("teacher", "ema")),
    "a short last batch": TWO.replace(losses={"kd": 0.5}, batch_size=64),
    "a last batch of one, which is dropped": TWO.replace(losses={"kd": 0.5}, batch_size=199),
    "each class equally often": TWO.replace(losses={"kd": 0.5}, sampling="balanced"),
    "mixed images": TWO.replace(losses={"kd": 0.5}, augment="auto+mixup"),
    "maps before": TWO.replace(losses={"kd": 0.5, "fsp": Term(50.0, stage="pretrain")}, pretrain_epochs=1),
}


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return counted_forwards(monkeypatch)


def same(one: TrialEnded, other: TrialEnded) -> None:
    assert one.metrics["error"] is None
    assert other.epochs == one.epochs
    assert torch.equal(other.test_logits, one.test_logits)


@pytest.mark.parametrize("case", READ_THE_HEAD)
def test_a_later_cohort_reads_what_an_earlier_one_left(
    case: str, tiny: SplitData, teacher: Teacher, forwards: list[int]
) -> None:
    config, shelf = READ_THE_HEAD[case], Shelf()
    trial = TrialSpec("one", config, 0)
    alone = ends([trial], tiny, teacher)["one"]
    of_maps = len(forwards) * config.pretrain_epochs // config.total_epochs  # those are computed each time
    first = ends([trial], tiny, teacher, kept=shelf)["one"]
    before = len(forwards)
    later = ends([trial], tiny, teacher, kept=shelf)["one"]
    assert len(shelf.files) == config.total_epochs - config.pretrain_epochs
    assert len(forwards) - before == of_maps
    same(alone, first)
    same(alone, later)


def test_another_arm_reads_it_too(tiny: SplitData, teacher: Teacher, forwards: list[int]) -> None:
    shelf = Shelf()
    wide = TrialSpec("wide", TWO.replace(losses={"dist": 1.0}, width=0.25), 0)
    alone = ends([wide], tiny, teacher)["wide"]
    ends([TrialSpec("kd", TWO.replace(losses={"kd": 0.5}), 0)], tiny, teacher, kept=shelf)
    before = len(forwards)
    same(alone, ends([wide], tiny, teacher, kept=shelf)["wide"])
    assert len(forwards) == before


def test_several_teachers_are_kept_each(tiny: SplitData, teacher: Teacher, forwards: list[int]) -> None:
    other = Teacher(teacher.config, {n: w * 1.01 for n, w in teacher.weights.items()}, teacher.test_logits)
    both, shelf = mean_teacher([teacher, other]), Shelf()
    each = TrialSpec("each", TWO.replace(losses={"kd": Term(0.5)}), 0)
    alone = ends([each], tiny, both)["each"]
    ends([each], tiny, both, kept=shelf)
    before = len(forwards)
    same(alone, ends([each], tiny, both, kept=shelf)["each"])
    assert len(forwards) == before


@pytest.mark.parametrize("beside", ["at", "channel"])
def test_maps_are_not_kept(beside: str, tiny: SplitData, teacher: Teacher) -> None:
    shelf = Shelf()
    trials = [TrialSpec(name, ARMS[name], 0) for name in ("kd", beside)]
    alone, kept = ends(trials, tiny, teacher), ends(trials, tiny, teacher, kept=shelf)
    for name in alone:
        same(alone[name], kept[name])
    assert not shelf.files


def test_no_student_that_reads_it_no_file(tiny: SplitData, teacher: Teacher) -> None:
    shelf = Shelf()
    ends([TrialSpec("baseline", ARMS["baseline"], 0)], tiny, teacher, kept=shelf)
    assert not shelf.files


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-1],
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "not of scl": lambda content: b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again_and_replaced(damage: str, tiny: SplitData, teacher: Teacher) -> None:
    shelf, trial = Shelf(), TrialSpec("kd", ARMS["kd"], 0)
    alone = ends([trial], tiny, teacher, kept=shelf)["kd"]
    intact = dict(shelf.files)
    shelf.files = {name: DAMAGE[damage](content) for name, content in intact.items()}
    same(alone, ends([trial], tiny, teacher, kept=shelf)["kd"])
    for name, content in intact.items():
        expected, found = (unpack(of)[0] for of in (content, shelf.files[name]))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[part], expected[part]) for part in expected)


def test_a_file_of_another_number_of_images_is_not_read(tiny: SplitData, teacher: Teacher) -> None:
    shelf = Shelf()
    for size in (64, 199):  # all images, and all but one
        trial = TrialSpec("kd", ARMS["kd"].replace(batch_size=size), 0)
        alone = ends([trial], tiny, teacher)["kd"]
        same(alone, ends([trial], tiny, teacher, kept=shelf)["kd"])


def test_a_file_that_cannot_be_written_costs_only_time(tiny: SplitData, teacher: Teacher) -> None:
    trial = TrialSpec("kd", ARMS["kd"], 0)
    same(ends([trial], tiny, teacher)["kd"], ends([trial], tiny, teacher, kept=Shelf(full=True))["kd"])


def test_a_large_epoch_is_not_kept(tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_features, "LARGEST", len(tiny.train.labels) * 10 * 4)  # the logits alone
    shelf, trial = Shelf(), TrialSpec("kd", ARMS["kd"], 0)
    same(ends([trial], tiny, teacher)["kd"], ends([trial], tiny, teacher, kept=shelf)["kd"])
    assert not shelf.files


def test_an_epoch_that_is_cut_off_is_not_kept(tiny: SplitData, teacher: Teacher) -> None:
    shelf, steps = Shelf(), iter(range(100))
    trial = TrialSpec("kd", ARMS["kd"].replace(batch_size=32, epochs=3), 0)
    list(train_cohort([trial], tiny, teacher, CPU, stop=lambda: next(steps) == 6, kept=shelf))
    assert sorted(shelf.files) == ["epoch-00001.safetensors"]  # of 4 steps


def test_what_is_read_is_a_copy_of_each_batch() -> None:
    """A student may change it in place, and memory at another alignment may change a product's last bit."""
    shelf = Shelf()
    given = Features([torch.empty(0)] * 2, torch.arange(8.0).view(4, 2), torch.arange(12.0).view(4, 3))
    images = torch.zeros(4, 1)
    KeptEpoch(lambda images, wanted: given, shelf, 1, 4, CPU)(images, HEAD)
    later = KeptEpoch(lambda images, wanted: pytest.fail("computed again"), shelf, 1, 4, CPU)
    for start in (0, 3):
        part = images[: 3 if start == 0 else 1]
        found = later(part, HEAD)
        for one, whole in ((found.logits, given.logits), (found.embedding, given.embedding)):
            assert torch.equal(one, whole[start : start + len(part)])
            assert one.storage_offset() == 0
            one.zero_()
        assert [tuple(of.shape) for of in found.maps] == [(0,), (0,)]  # as the network gives them
    assert torch.equal(KeptEpoch(lambda images, wanted: given, shelf, 1, 4, CPU)(images, HEAD).logits, given.logits)

"""Logits and final metrics."""

from __future__ import annotations

import math

import pytest
import torch

from scl.data.batches import SplitData
from scl.data.images import Images
from scl.models.networks import build_student
from scl.train.evaluation import evaluate, final_metrics
from tests.support.training import BASE


def test_final_metrics_against_loops() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(200, 7), torch.randn(200, 7)
    labels = torch.randint(0, 7, (200,))
    got = final_metrics(logits, labels, teacher)
    agree = top5 = loss = kl = 0.0
    bins: dict[int, list[tuple[float, float]]] = {}
    for x, t, y in zip(logits.double().tolist(), teacher.double().tolist(), labels.tolist(), strict=True):
        p = [math.exp(v) / sum(map(math.exp, x)) for v in x]
        q = [math.exp(v) / sum(map(math.exp, t)) for v in t]
        agree += p.index(max(p)) == q.index(max(q))
        top5 += y in sorted(range(7), key=lambda i: -x[i])[:5]
        loss -= math.log(p[y])
        kl += sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))
        bins.setdefault(min(int(max(p) * 15), 14), []).append((float(p.index(max(p)) == y), max(p)))
    ece = sum(abs(sum(c for c, _ in b) - sum(p for _, p in b)) for b in bins.values())
    floor = got.pop("ece_floor")
    del got["balanced_acc"], got["macro_f1"]  # below, against scikit-learn
    assert 0 < floor < ece / 200
    wanted = {"agreement": agree, "test_acc5": top5, "test_loss": loss, "teacher_kl": kl, "ece": ece}
    assert got == pytest.approx({k: v / 200 for k, v in wanted.items()}, abs=1e-9)


@pytest.mark.parametrize("images", [50, 1000])
def test_the_floor_is_the_calibration_error_of_networks_whose_confidences_are_true(images: int) -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(images, 10)
    found = [final_metrics(logits, torch.distributions.Categorical(logits=logits).sample(), None) for _ in range(400)]
    assert len({metrics["ece_floor"] for metrics in found}) == 1  # it depends on the confidences alone
    mean = sum(metrics["ece"] for metrics in found) / len(found)
    assert found[0]["ece_floor"] == pytest.approx(mean, rel=0.08)
    sure = final_metrics(torch.tensor([[1e4, 0.0]] * images), torch.zeros(images, dtype=torch.long), None)
    assert sure["ece_floor"] == 0


def test_evaluation_restores_the_mode_and_gives_the_logits_of_each_model(tiny: SplitData) -> None:
    models = [build_student(BASE, tiny, seed) for seed in (0, 1)]
    models[1].eval()
    found = evaluate(models, tiny.test, tiny)
    assert [model.training for model in models] == [True, False]
    images = (tiny.test.images / 255 - tiny.mean.view(1, -1, 1, 1)) / tiny.std.view(1, -1, 1, 1)
    for model, logits in zip(models, found, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(logits, model.eval()(images), rtol=1e-4, atol=1e-5)


def test_no_images_give_no_logits(tiny: SplitData) -> None:
    none = Images(tiny.val.images[:0], tiny.val.labels[:0])
    (logits,) = evaluate([build_student(BASE, tiny, 0)], none, tiny)
    assert logits.shape == (0, 10)

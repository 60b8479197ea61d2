"""Logits and metrics of trained networks on unseen images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.data.batches import SplitData, evaluation_batches
from scl.data.images import Images
from scl.models.mode import eval_mode
from scl.study.metrics import balanced_accuracy, macro_f1
from scl.train.inputs import own_network

# Images per batch: few enough for a CPU's cache, enough to keep a GPU busy.
BATCH = {"cpu": 256, "cuda": 2048}
USUAL = 64 * 64  # pixels: of larger images a batch has fewer, so that it takes as much memory
BINS = 15
DRAWS = 100  # of outcomes behind `calibration_floor`; its own standard error is then about 3 % of it


@torch.inference_mode()
def evaluate(models: Sequence[nn.Module], images: Images, data: SplitData) -> list[Tensor]:
    """Logits (N, K), float32, of each model in evaluation mode; the models share the batches.

    Afterwards each model is in the mode that it was in before.
    """
    outputs: list[list[Tensor]] = [[] for _ in models]
    _, height, width = data.image_shape
    size = max(8, BATCH[images.device.type] * USUAL // max(USUAL, height * width))
    with eval_mode(*models):
        for batch, _ in evaluation_batches(images, batch_size=size, mean=data.mean, std=data.std):
            for model, output in zip(models, outputs, strict=True):
                output.append(model(batch).float())
    empty = torch.empty(0, data.classes, device=images.labels.device)
    return [torch.cat(output) if output else empty for output in outputs]


def muted_accuracy(model: nn.Module, data: SplitData) -> float:
    """Test accuracy with the self-taught channels at zero, so that only the guided ones contribute."""
    network = own_network(model)
    network.muted = True  # type: ignore[assignment]
    (logits,) = evaluate([model], data.test, data)
    network.muted = False  # type: ignore[assignment]
    return (logits.argmax(1) == data.test.labels).double().mean().item()


def top5(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose class is among the five with the highest logits."""
    likely = logits.topk(min(5, logits.shape[1])).indices
    return (likely == labels[:, None]).any(1).double().mean().item()


def by_class(predicted: Tensor, labels: Tensor, classes: int) -> tuple[float, float]:
    """Balanced accuracy and macro F1 of predicted classes (N,) and labels (N,). Classes without images do not count."""
    right, images, named = (
        torch.bincount(of, minlength=classes).tolist() for of in (labels[predicted == labels], labels, predicted)
    )
    return balanced_accuracy(right, images), macro_f1(right, images, named)


def scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Metrics of test logits (N, K), float64, and labels (N,): top-5 accuracy, mean log loss in nats, and means over
    classes of accuracy and F1."""
    balanced, f1 = by_class(logits.argmax(1), labels, logits.shape[1])
    loss = F.cross_entropy(logits, labels).item()
    return {"test_acc5": top5(logits, labels), "balanced_acc": balanced, "macro_f1": f1, "test_loss": loss}


def final_metrics(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> dict[str, float]:
    """Test metrics from logits (N, K) and labels (N,): `scores`, calibration, agreement with the teacher.

    ece: expected calibration error (Guo et al., ICML 2017, Eq. 3) with 15 equal-width bins of the top probability;
    ece_floor: see `calibration_floor`.
    agreement: the share of images for which student and teacher predict the same class. teacher_kl: mean
    KL(teacher ‖ student) in nats. Both need `teacher_logits` (N, K).
    """
    logits = logits.double()
    probability, predicted = logits.softmax(1).max(1)
    bins = (probability * BINS).long().clamp(max=BINS - 1)
    gap = (predicted == labels).double() - probability
    ece = torch.zeros(BINS, dtype=torch.float64, device=logits.device).index_add(0, bins, gap).abs().sum() / len(labels)
    metrics = scores(logits, labels) | {
        "ece": ece.item(),
        "ece_floor": calibration_floor(probability, bins),
    }
    if teacher_logits is not None:
        student, teacher = logits.log_softmax(1), teacher_logits.to(logits).log_softmax(1)
        metrics["agreement"] = (predicted == teacher.argmax(1)).double().mean().item()
        metrics["teacher_kl"] = F.kl_div(student, teacher, log_target=True, reduction="batchmean").item()
    return metrics


def calibration_floor(probability: Tensor, bins: Tensor) -> float:
    """The mean calibration error of a perfectly calibrated network with these confidences; NaN without images.

    Chance alone moves the accuracy of a bin away from its mean confidence, the more the fewer images it has. Outcomes
    are drawn DRAWS times with the confidences as their probabilities, always with the same seed.

    Args:
        probability: of the predicted class, float64 (N,). bins: the bin of each, (N,).
    """
    if not len(probability):
        return math.nan
    confidence, index = probability.cpu(), bins.cpu()
    draws = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(DRAWS):
        outcome = torch.rand(len(confidence), dtype=torch.float64, generator=draws) < confidence
        gap = outcome.double() - confidence
        total += torch.zeros(BINS, dtype=torch.float64).index_add(0, index, gap).abs().sum().item()
    return total / DRAWS / len(confidence)

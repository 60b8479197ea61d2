"""A loss that contrasts the embeddings of an image with those of other images, which it remembers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from scl.losses.arithmetic import Pair, full_precision, unit_rows
from scl.losses.checks import require, require_same_batch, require_temperature
from scl.losses.grams import first_order_only


class _WithGradient(Function):
    """A value whose gradient was computed with it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @first_order_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None


class crd(nn.Module):
    """Contrastive representation distillation (Tian et al., ICLR 2020, Eq. 17 to 19): is it the same image?

    Two linear layers map the embeddings of student and teacher to 128 numbers of unit length, v_s and v_t. Two memories
    hold an average of them for each training image. An image's v_s is compared with the teacher's memory m of the same
    image and of K other images, h = e^(v·m/τ) / Z; the loss is the mean over the batch of
    −log(h₀ / (h₀ + K/N)) − Σ log((K/N) / (h_k + K/N)), plus the same for v_t and the student's memory. N is the number
    of training images, and Z is N times the mean of e^(v·m/τ) in the first batch, then fixed. After a step, the
    memories of its images become ½ m + ½ v at unit length; an image that is in the batch twice keeps its last v.

    As in RepDistiller, the authors' code, which differs from the paper: other images are those of other classes (the
    paper draws from all), v_t is trained and contrasted too, h has the constant Z, and 1e-7 is added to K/N in sums.
    Unlike in RepDistiller, the K images are drawn with replacement, which the paper's independent draws are as well;
    RepDistiller draws without if there are enough. Draws come from torch's random stream, which training seeds with
    the trial's seed, epoch and step.

    Called with embeddings (B, D_s), (B, D_t) and the numbers of the images among the training images (B,), int64.
    Linear layers and memories train with the student and are in its checkpoints. A memory has N × 128 numbers: 26 MB
    for the 50,000 images of CIFAR-100. A step computes scores (B, N), so it takes time in proportion to N.

    Args:
        student_channels: D_s.
        teacher_channels: D_t.
        labels: of all training images (N,).
        negatives: K. With fewer images than that outside of the largest class, K is their number.
        temperature: τ, above 0.
        momentum: share of the memory that stays, from 0 to below 1.

    Raises:
        ValueError: unequal B, numbers that are not (B,), labels of one class alone, an option out of range.

    Example:
        import torch
        from scl.losses import crd

        labels = torch.arange(50) % 10
        loss = crd(student_channels=64, teacher_channels=128, labels=labels)
        value = loss(torch.randn(8, 64), torch.randn(8, 128), torch.arange(8))
    """

    width = 128
    epsilon = 1e-7
    labels: Tensor
    student_memory: Tensor
    teacher_memory: Tensor
    constants: Tensor
    by_class: Tensor
    first: Tensor
    alike: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        labels: Tensor,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        require(negatives >= 1 and int(negatives) == negatives, f"negatives is a whole number from 1, got {negatives}")
        require_temperature(temperature)
        require(0 <= momentum < 1, f"momentum is from 0 to below 1, got {momentum}")
        self.temperature, self.momentum = temperature, momentum
        self.embed_student = nn.Linear(student_channels, self.width)
        self.embed_teacher = nn.Linear(teacher_channels, self.width)
        labels = labels.cpu()
        sizes = torch.bincount(labels)
        others = len(labels) - int(sizes.max())
        require(others > 0, "crd contrasts an image with those of other classes, and all training images are of one")
        self.negatives = min(int(negatives), others)
        bound = 3**0.5 * self.width**-0.5  # rows of length 1, on average
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, torch.empty(len(labels), self.width).uniform_(-bound, bound))
        self.register_buffer("constants", torch.zeros(2))  # Z of both sides; 0: not set
        # The images in the order of their classes; for each image, how many are before its class, and in it.
        self.register_buffer("by_class", labels.argsort(stable=True), persistent=False)
        self.register_buffer("first", (sizes.cumsum(0) - sizes)[labels], persistent=False)
        self.register_buffer("alike", sizes[labels], persistent=False)

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor, index: Tensor) -> Tensor:
        require_same_batch(student, teacher)
        require(index.shape == student.shape[:1], f"numbers of images must be (B,), got {tuple(index.shape)}")
        return self.contrast(student, teacher, index, self.drawn(index))

    def drawn(self, index: Tensor) -> Tensor:
        """Images of other classes for each of these images (B,), uniformly with replacement: (B, K)."""
        alike = self.alike[index, None]
        others = len(self.by_class) - alike
        place = torch.randint(2**62, (len(index), self.negatives), device=index.device) % others
        return self.by_class[place + alike * (place >= self.first[index, None])]

    def contrast(self, student: Tensor, teacher: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
        """The loss against these other images (B, K), and the update of the memories."""
        s, t = unit_rows(self.embed_student(student.flatten(1))), unit_rows(self.embed_teacher(teacher.flatten(1)))
        images = torch.cat([index[:, None], negatives], 1)
        sides = (s, self.teacher_memory), (t, self.student_memory)
        values = [
            _WithGradient.apply(rows, *self._side(rows.detach(), memory, images, self.constants[i]))
            for i, (rows, memory) in enumerate(sides)
        ]
        self._remember(self.student_memory, index, s.detach())
        self._remember(self.teacher_memory, index, t.detach())
        return torch.stack(values).sum()

    @torch.no_grad()
    def _side(self, rows: Tensor, memory: Tensor, images: Tensor, constant: Tensor) -> Pair:
        """The loss of rows (B, 128) and its gradient; sets the constant of this side if it is not set.

        The gradient is computed here since the memory has changed by the time of the backward pass. Products with the
        whole memory are faster, and take less memory, than a copy of its rows for each image.
        """
        count, images_in_all = images.shape[1] - 1, len(memory)
        raw = ((rows @ memory.mT).gather(1, images) / self.temperature).exp()
        constant.copy_(torch.where(constant > 0, constant, raw.mean() * images_in_all))
        h = raw / constant
        noise = count / images_in_all
        rest = noise + self.epsilon
        same, other = (h[:, 0] / (h[:, 0] + rest)).log(), (noise / (h[:, 1:] + rest)).log()
        slope = h / (h + rest)
        slope[:, 0] -= 1
        slope /= self.temperature * len(rows)
        gradient = torch.zeros(len(rows), images_in_all, dtype=rows.dtype, device=rows.device)
        gradient = gradient.scatter_add_(1, images, slope) @ memory
        return -(same.sum() + other.sum()) / len(rows), gradient

    @torch.no_grad()
    def _remember(self, memory: Tensor, index: Tensor, rows: Tensor) -> None:
        places = torch.arange(len(index), device=index.device)
        last = ((index[:, None] == index) * places).amax(1)  # of each image; writes to one place are then equal
        memory.index_copy_(0, index, unit_rows(self.momentum * memory[index] + (1 - self.momentum) * rows[last]))

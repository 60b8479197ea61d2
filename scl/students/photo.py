"""A student that takes photos as they are: the preprocessing of its training as a part of the network, for exports."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scl.data.preprocessing import Preprocessing
from scl.errors import UserError
from scl.students.student import Student


class FromPhoto(nn.Module):
    """Takes one decoded photo, uint8 (height, width, C) with C 3 for colour (RGB) or 1 for grey, upright and of any
    size; returns logits (1, K).

    It scales as Pillow does (bilinear with antialiasing, each pass rounded to 8 bits), by a product with a matrix of
    weights for the rows and for the columns, so that other runtimes give the same pixels. Their own antialiased
    scaling differs from Pillow's by up to 20 of 255 levels on noise.

    Raises:
        UserError: the student takes normalised images, or was trained with an interpolation that is not bilinear.
    """

    def __init__(self, student: Student, how: Preprocessing) -> None:
        super().__init__()
        if not student.normalise:
            raise UserError("--input photo normalises the image, and --input normalised does not; give one of them")
        if how.interpolation != "bilinear":
            raise UserError(f"--input photo scales bilinearly, and this student was trained with {how.interpolation}")
        self.student, self.how = student, how

    def forward(self, photo: Tensor) -> Tensor:
        image = photo.permute(2, 0, 1).float()
        sizes = [torch.ones((), device=photo.device) * size for size in image.shape[1:]]
        wanted = [torch.full_like(sizes[0], float(size)) for size in (self.how.height, self.how.width)]
        part, inside = sizes, wanted
        if self.how.fit == "crop":
            part = [torch.minimum(sizes[i], sizes[1 - i] * wanted[i] / wanted[1 - i]) for i in (0, 1)]
        elif self.how.fit == "pad":
            scale = torch.minimum(wanted[0] / sizes[0], wanted[1] / sizes[1])
            inside = [torch.round(size * scale).clamp(min=1) for size in sizes]
        if self.how.fit != "exact":
            rows, columns = (
                _weights(image.shape[1 + i], (sizes[i] - part[i]) / 2, part[i], count, inside[i])
                for i, count in enumerate((self.how.height, self.how.width))
            )
            image = _eight_bits(image @ columns.T)
            image = _eight_bits(rows @ image)
        logits: Tensor = self.student(image[None] / 255)
        return logits


def _weights(length: int, start: Tensor, part: Tensor, count: int, inside: Tensor) -> Tensor:
    """Weights (count, length) of the pixels of a line in `count` pixels. The `inside` of them in the middle show `part`
    of the line from `start` on; the others are black.

    A triangle around each target pixel's centre, as wide as what the pixel shows but at least two pixels
    (Pillow's `precompute_coeffs`).
    """
    scale = part / inside
    reach = torch.clamp(scale, min=1.0)
    target = torch.arange(count, device=start.device) - torch.floor((count - inside) / 2)
    centres = start + (target + 0.5) * scale
    places = torch.arange(length, device=start.device) + 0.5
    weights = torch.relu(1 - (places - centres[:, None]).abs() / reach)
    shown = (target >= 0) & (target < inside)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12) * shown[:, None]


def _eight_bits(image: Tensor) -> Tensor:
    return torch.floor(image + 0.5).clamp(0, 255)

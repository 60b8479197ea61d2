"""Transfer losses: what a student is asked to share with its teacher, one guided layer at a time.

Every loss is called `loss(student, teacher, …)` and returns a scalar that falls to its least when the two
agree in its sense. Feature maps are (B, C, H, W), embeddings (B, D), logits (B, K); N = H·W is the number of
locations. `vid`, `ickd` and `cc` have learned parts: modules built from the two channel counts,
`(student_channels, teacher_channels)`, and then called the same way. A sum over layers, weights and
connectors are the caller's.

What holds for all of them:

* They run in float32 with autocast off whatever they are given (float64 stays float64): half precision
  underflows in the squares, and bfloat16 resolves 2⁻⁸ near 1.
* Nothing waits for the device, so that a step can be captured in a CUDA graph: no `.item()`, no branch on a
  value, no indexing by a mask.
* Values and gradients are finite for dead channels, constant maps and all-zero inputs: what has no direction
  is a zero row with zero gradient, where public code divides by an epsilon and sends back gradients of up to
  1e12.
* Scaling follows the public code under which the published weights were found, also where a paper's formula
  sums and that code averages; each docstring names the difference.
"""

from scl.losses.correlation import channel_correlation, spatial_correlation
from scl.losses.logits import dist, dkd, kd
from scl.losses.maps import at, fsp, hint, ickd, nst, vid
from scl.losses.relations import cc, pkt, rkd, sp

__all__ = [
    "at",
    "cc",
    "channel_correlation",
    "dist",
    "dkd",
    "fsp",
    "hint",
    "ickd",
    "kd",
    "nst",
    "pkt",
    "rkd",
    "sp",
    "spatial_correlation",
    "vid",
]

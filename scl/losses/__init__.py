"""Transfer losses, for one guided layer at a time.

Each loss is called as `loss(student, teacher, …)` and returns a scalar; the more the two agree, in the sense of the
loss, the smaller it is. Feature maps are (B, C, H, W), embeddings (B, D), logits (B, K), class activation maps
(B, K, H, W); N = H·W is the number of locations. `vid`, `ickd`, `cc`, `crd`, `reviewkd`, `semckd`, `ofd` and `ctkd`
have learned parts: they are modules, built from the channels of both, `(student_channels, teacher_channels)`,
and then called in the same way. `crd` remembers the training images and also takes their labels and numbers;
`reviewkd`, `semckd` and `ofd` take all maps at once, and `semckd` is also built for a number of images. The caller sums
over layers, and applies weights and connectors.

All losses:

* compute in float32 with autocast off, whatever the inputs (float64 stays float64): half precision underflows in the
  squares, and bfloat16 resolves only 2⁻⁸ near 1.
* never wait for the device, so that a CUDA graph can capture them: no `.item()`, no branch on a value, no indexing by
  a mask.
* have finite values and gradients for dead channels, constant maps and all-zero inputs. A vector without a direction
  becomes a zero row with zero gradient; public code divides by an epsilon there and returns gradients of up to 1e12.
* scale as the public code does with which the published weights were found, even if the formula of the paper sums
  and that code averages; each docstring names the difference.
"""

from scl.losses.calibration import semckd
from scl.losses.contrast import crd
from scl.losses.correlation import channel_correlation, logit_correlation, spatial_correlation
from scl.losses.logits import dist, dkd, kd, mlld, nkd, wttm
from scl.losses.maps import at, catkd, fsp, hint, ickd, norm, nst, simkd, vid
from scl.losses.overhaul import ofd
from scl.losses.ranks import ldrld
from scl.losses.relations import cc, pkt, rkd, sp
from scl.losses.review import reviewkd
from scl.losses.temperature import ctkd

__all__ = [
    "at", "catkd", "cc", "channel_correlation", "crd", "ctkd", "dist", "dkd", "fsp", "hint", "ickd", "kd", "ldrld",
    "logit_correlation", "mlld", "nkd", "norm", "nst", "ofd", "pkt", "reviewkd", "rkd", "semckd", "simkd", "sp",
    "spatial_correlation", "vid", "wttm",
]  # fmt: skip

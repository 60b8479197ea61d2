"""Networks of students and teachers, with their guided layers and self-taught neurons.

For images x (B, C, H, W), `model(x)` returns logits (B, K), `model.forward_features(x)` the guided feature maps from
shallow to deep and the logits, and `model.features(x, tap, wanted)` all features that losses compare. The maps do not
contain the self-taught channels, so transfer losses cannot see them.
"""

from scl.models.build import build_model, macs, pretrained
from scl.models.staged import Features, SelfTaught, Staged, Wanted

__all__ = ["Features", "SelfTaught", "Staged", "Wanted", "build_model", "macs", "pretrained"]

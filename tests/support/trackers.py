"""A run that is tracked."""

from __future__ import annotations

# Two trials on digits, two epochs each.
TWO_TRIALS = ["--seeds", "1", "--limit", "100", "--arms", "scl"]

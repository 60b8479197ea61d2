"""Results of a study for scripts: `scl.results.load("results/ablation")` has `.trials`, `.epochs` and `.study`."""

from scl.report.results import Results, load

__all__ = ["Results", "load"]

"""Studies of knowledge distillation: which transfer loss, how many self-taught neurons, how deep a student.

    import scl

    study = scl.Study("mine", "Does KD help?", arms={"baseline": {}, "kd": {"losses": {"kd": 0.9}, "ce": 0.1}})
    results = scl.run(study, seeds=2, inline=True)
    results.summary()

Everything is imported when it is first used, so that a start stays short.
"""

from __future__ import annotations

from scl.shadows import refuse_hidden_modules

refuse_hidden_modules()  # before a module is imported that a file might hide

from importlib import import_module, metadata  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from scl.api import plan, run
    from scl.errors import RunFailed, UserError
    from scl.report.results import Results, load
    from scl.students.student import load_student
    from scl.study import controls, designs
    from scl.study.config import Config
    from scl.study.scales import Scale, Setting
    from scl.study.search import Search
    from scl.study.space import Branch, Choice, Float, Int
    from scl.study.study import Study
    from scl.study.term import Term

    __version__: str

_NAMES = {
    "scl.errors": ("RunFailed", "UserError"),
    "scl.report.results": ("Results", "load"),
    "scl.study.config": ("Config",),
    "scl.study.search": ("Search",),
    "scl.study.space": ("Branch", "Choice", "Float", "Int"),
    "scl.study.scales": ("Scale", "Setting"),
    "scl.study.study": ("Study",),
    "scl.study.term": ("Term",),
    "scl.students.student": ("load_student",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
# Packages and modules that are reached by their own name; `run` and `plan` are functions too (see scl.callable).
_PACKAGES = (
    "cli", "data", "errors", "losses", "merge", "models", "plan", "report", "results", "run", "search",
    "stats", "store", "students", "study", "train",
)  # fmt: skip

__all__ = [
    "Branch", "Choice", "Config", "Float", "Int", "Results", "RunFailed", "Scale", "Search", "Setting", "Study", "Term",
    "UserError", "__version__", "controls", "designs", "load", "load_student", "plan", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("scl-studies")
    if name in _PACKAGES:
        return import_module(f"scl.{name}")
    if name in ("controls", "designs"):
        return import_module(f"scl.study.{name}")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'scl' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES})

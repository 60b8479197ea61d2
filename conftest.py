"""How the suite runs. Nothing heavy is imported here: the process that hands out tests to others starts at once."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

if sys.dont_write_bytecode:
    # As in many containers. The suite starts about a hundred Python processes, and each of them would compile PyTorch
    # and pandas anew, for 3 s. So bytecode is kept, but apart from the code.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parent / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# Folders whose tests start processes, browsers and studies. They come first, so that the processes end together.
FIRST = ("tests/docs/", "tests/report/", "tests/run/", "tests/search/", "tests/store/")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite runs in three processes, each file in one of them: more than two cores, since tests wait for
    other processes and browsers. What the command line names, and tests that are slow or need a GPU, run in this
    process; without pytest-xdist, all do. `-n 0` or `-n 4` chooses otherwise."""
    if hasattr(config, "workerinput"):  # one of the three, which must not start more
        return
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and "not slow" in config.option.markexpr
    if whole and getattr(config.option, "numprocesses", 0) is None and not config.option.usepdb:
        config.option.numprocesses, config.option.dist, config.option.loadscopereorder = 3, "loadfile", False


def pytest_configure(config: pytest.Config) -> None:
    """The fixtures, with PyTorch and pandas, are for processes that run tests."""
    if hasattr(config, "workerinput") or getattr(config.option, "dist", "no") == "no":
        config.pluginmanager.import_plugin("tests.support.fixtures")
        gc.disable()  # what is imported stays, so looking for garbage in it takes time and finds none


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m gpu` looks only at files with such tests: a machine with a GPU may lack Ray, Optuna and Plotly."""
    if config.option.markexpr != "gpu" or not collection_path.is_relative_to(config.rootpath / "tests"):
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    marked = any(file.suffix == ".py" and "pytest.mark.gpu" in file.read_text(encoding="utf-8") for file in files)
    return None if marked else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What lives by now is looked at by no later collection of garbage."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Before Python ends, all is looked at: compiled modules print what they think has leaked."""
    gc.unfreeze()

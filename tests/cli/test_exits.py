"""Exit codes, and what is printed beside them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scl.cli.exits import Parser, exit_code, write_text
from scl.errors import RunFailed, UserError
from scl.run.stopping import stop_signals

ROOT = Path(__file__).parents[2]


def raises(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "printed"),
    [
        (lambda: 0, 0, ""),
        (lambda: 3, 3, ""),
        (raises(UserError("unknown arm 'kdd'")), 2, "error: unknown arm 'kdd'\n"),
        (raises(RunFailed("the disk is full")), 1, "error: the disk is full\n"),
        (raises(KeyboardInterrupt()), 130, "interrupted; finished trials are kept\n"),
        (raises(KeyboardInterrupt("SIGUSR1")), 130, "interrupted by SIGUSR1; finished trials are kept\n"),
    ],
)
def test_the_codes_of_the_contract(
    work: Callable[[], int], code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(work) == code
    assert capsys.readouterr().err == printed


@pytest.mark.parametrize("error", [ZeroDivisionError(), ImportError("no module named x")])
def test_a_mistake_of_ours_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        exit_code(raises(error))


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "for what was asked"),
        (MemoryError("Unable to allocate 7 GiB"), "Unable to allocate 7 GiB"),
        (ImportError("libx.so: failed to map segment"), "libx.so: failed to map segment"),
        (RuntimeError("[enforce fail] can't allocate memory"), "[enforce fail] can't allocate memory"),
    ],
)
def test_a_lack_of_memory_is_named(error: Exception, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raises(error)) == 1
    assert capsys.readouterr().err.startswith(f"error: there is not enough memory ({what}); ")


@pytest.mark.parametrize("number", stop_signals(), ids=lambda number: number.name)
def test_an_early_signal_interrupts_a_command(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    assert exit_code(lambda: signal.raise_signal(number) or 0) == 130
    assert capsys.readouterr().err == f"interrupted by {number.name}; finished trials are kept\n"
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_signal_that_comes_last_does_not_change_the_code(code: int) -> None:
    script = f"""
import atexit, os, signal
from scl.cli.exits import exit_with
atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))
exit_with(lambda: {code})
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == code


def test_a_reader_that_leaves_is_no_error_of_ours() -> None:
    command = f"{sys.executable} -m scl --help | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in run.stderr
    plan = f"{sys.executable} {ROOT / 'studies' / 'ablation.py'} --plan --inline | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", plan], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_full_standard_output_is_named(size: int) -> None:
    code = f"import sys; from scl.cli.exits import exit_code; sys.exit(exit_code(lambda: print('x' * {size}) or 0))"
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (2, "error: standard output cannot be written: No space left on device\n")


def test_a_path_that_cannot_be_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raises(NotADirectoryError(20, "Not a directory", "elsewhere"))) == 2
    assert capsys.readouterr().err == "error: [Errno 20] Not a directory: 'elsewhere'; name another path\n"


def test_a_path_that_no_system_takes_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raises(OSError(36, "File name too long", "a" * 5000))) == 2
    assert "… (5,002 characters); name another path\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        Parser(prog="scl").parse_args(["a" * 5000])
    error = capsys.readouterr().err
    assert "unrecognized arguments: aaa" in error
    assert error.endswith("… (5,000 characters)\n")


def test_text_is_written_or_the_file_is_named(tmp_path: Path) -> None:
    write_text(str(tmp_path / "a.md"), "± 0.5 – “é”")
    assert (tmp_path / "a.md").read_bytes().decode("utf-8") == "± 0.5 – “é”"
    with pytest.raises(UserError, match="the file exists; --force replaces it"):
        write_text(str(tmp_path / "a.md"), "x")
    write_text(str(tmp_path / "a.md"), "x", force=True)
    assert (tmp_path / "a.md").read_text() == "x"
    for wrong in (tmp_path / "absent" / "a.md", tmp_path, Path("/dev/null")):
        with pytest.raises(UserError, match=f"{wrong}: .*; name a file that can be written"):
            write_text(str(wrong), "x")
    for name in ("", "a\0b", "caf\udce9"):
        with pytest.raises(UserError, match=r"^--out: must "):
            write_text(name, "x")

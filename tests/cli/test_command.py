"""The command `scl`, as typed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from scl.cli.command import SHELLS, main
from scl.cli.flags import parsed, parser
from scl.store import lookup
from scl.store.results import load
from tests.support.studies import SMALL

ROOT = Path(__file__).parents[2]


def scl(*arguments: str) -> int:
    return main(arguments)


def test_results_lists_every_study(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scl("results", str(small.parent)) == 0
    out = capsys.readouterr().out
    assert "6/6" in out
    assert f"{small}/report.html" in out
    assert scl("results", str(small)) == 0
    assert scl("results", str(tmp_path)) == 2
    assert "run a study first" in capsys.readouterr().err


def test_show_finds_a_trial_by_name_or_id(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = load(str(small)).planned().set_index(["arm", "seed"])
    identity = planned.loc[("a/branch", 1), "trial_id"]
    for name in ("small/a/branch/1", "a/branch/1", identity[:12]):
        assert scl("show", str(small.parent), name) == 0
        out = capsys.readouterr().out
        assert identity in out.replace("\n", "").replace(" ", "")
        assert f"{planned.loc[('a/branch', 1), 'test_acc']:.4f}" in out
        assert "scl export" in out
    assert scl("show", str(small), "small/a/branch/1") == 0
    capsys.readouterr()
    assert scl("show", str(small.parent), "small/a/branch/9") == 2
    assert "valid: a/branch/1" in capsys.readouterr().err


def test_a_trial_that_two_studies_have_is_asked_about(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        shutil.copytree(small, tmp_path / name)
    assert scl("show", str(tmp_path), "scl/0") == 2
    assert "give one of: one/scl/0, two/scl/0" in capsys.readouterr().err
    assert scl("show", str(tmp_path), "two/scl/0") == 0
    assert capsys.readouterr().out.startswith("two: scl, seed 0, completed")


def test_report_builds_the_page_anew(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "small")
    (tmp_path / "small" / "report.html").unlink()
    assert scl("report", str(tmp_path / "small")) == 0
    assert (tmp_path / "small" / "report.html").stat().st_size > 1000
    assert scl("report", str(tmp_path)) == 2


STUDY = """
from scl.cli import main
from scl import Config, Study

main(
    Study(
        name="tiny",
        question="?",
        base=Config(model="plain3", width=0.1, epochs=1),
        teacher=Config(model="plain3", width=0.1),
        arms={"baseline": {}},
    )
)
"""


def test_plan_is_that_of_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.py").write_text(STUDY)
    assert scl("plan", str(tmp_path / "tiny.py"), "--seeds", "2", "--out", str(tmp_path / "results")) == 0
    assert "2 = 1 arms × 2 seeds" in capsys.readouterr().out
    assert not (tmp_path / "results" / "tiny" / "trials.parquet").exists()
    assert scl("plan", str(tmp_path / "absent.py")) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert scl("plan", str(tmp_path / "empty.py")) == 2


def test_run_is_the_script(tmp_path: Path) -> None:
    flags = ["--inline", "--arms", "kd", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1", "--limit", "60"]
    assert scl("run", str(ROOT / "studies" / "ablation.py"), *flags, "--out", str(tmp_path)) == 0
    assert set(load(str(tmp_path / "ablation")).trials["state"]) == {"completed"}


def test_a_reader_that_leaves_is_no_error_of_ours() -> None:
    command = f"{sys.executable} -m scl --help | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in run.stderr
    plan = f"{sys.executable} {ROOT / 'studies' / 'ablation.py'} --plan --inline | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", plan], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (141, "")


def test_export_is_a_command_too(small: Path, tmp_path: Path) -> None:
    assert scl("export", str(small), "scl/0", "--out", str(tmp_path / "s.safetensors")) == 0
    assert (tmp_path / "s.safetensors").exists()
    assert scl("export", str(small.parent), "small/scl/0", "--out", str(tmp_path / "t.safetensors")) == 0
    assert (tmp_path / "t.safetensors").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert scl("completion", shell) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("results", "show", "plan", "export"))


def test_bash_completes(capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    scl("completion", "bash")
    script = capsys.readouterr().out
    ask = 'COMP_WORDS=(scl re); COMP_CWORD=1; _shtab_scl; echo "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=30)
    assert {"results", "report"} <= set(run.stdout.split()), run.stderr
    ask = 'COMP_WORDS=(scl run studies/ablation.py --teacher-); COMP_CWORD=3; _shtab_scl; echo "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=30)
    assert {"--teacher-model", "--teacher-epochs"} <= set(run.stdout.split()), run.stderr


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_is_heard(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_color: bool
) -> None:

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    read = load(str(small))
    read.trials.loc[0, ["state", "error"]] = ["failed", "it broke"]
    monkeypatch.setattr(lookup, "read_results", lambda store: read)
    assert scl("show", str(small), read.trials["trial_id"][0]) == 0
    assert ("\x1b[31m" in capsys.readouterr().out) == (not no_color)
    assert Console().no_color == no_color


def test_the_console_command_and_the_module_are_one() -> None:
    run = subprocess.run([sys.executable, "-m", "scl", "--help"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0
    assert "results" in run.stdout


def test_the_help_of_a_study_has_examples_that_parse() -> None:
    """Every example of the help is a command line that the study takes."""
    text = parser(SMALL, "small.py").format_help()
    examples = text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) == 5
    for line in examples:
        assert parsed(SMALL, "small.py", line.strip().split("  ")[0].split()[1:])

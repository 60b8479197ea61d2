"""`scl run` and `scl plan`: a study's script in this process."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from scl.cli.command import main
from scl.cli.commands.study import run
from scl.errors import UserError
from scl.store.results import load

ROOT = Path(__file__).parents[3]
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
    assert main(["plan", str(tmp_path / "tiny.py"), "--seeds", "2", "--out", str(tmp_path / "results")]) == 0
    assert "2 = 1 arm × 2 seeds" in capsys.readouterr().out
    assert not (tmp_path / "results" / "tiny" / "trials.parquet").exists()
    assert main(["plan", str(tmp_path / "absent.py")]) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert main(["plan", str(tmp_path / "empty.py")]) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = 1\na file\n", "line 2: invalid syntax"),
        (b"if True:\nx = 1\n", "line 2: expected an indented block"),
        (b"\x00\x01", "null bytes"),
        (b"PAR1\xff\xfe", "line 1: "),
        (b"x = '\xff'\n", "'utf-8' codec can't decode"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_file_that_is_not_python_is_refused(
    command: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "it.py").write_bytes(content)
    assert main([command, str(tmp_path / "it.py")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "name a study's script" in error


def test_run_is_the_script(tmp_path: Path) -> None:
    flags = ["--inline", "--arms", "kd", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1", "--limit", "60"]
    assert main(["run", str(ROOT / "studies" / "ablation.py"), *flags, "--out", str(tmp_path)]) == 0
    assert set(load(str(tmp_path / "ablation")).trials["state"]) == {"completed"}


@pytest.mark.parametrize(("end", "code"), [("7", 7), ("0", 0), ("None", 0), ("", 0)])
def test_a_script_sees_its_flags_and_its_folder_and_its_code_is_returned(
    end: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    (tmp_path / "it.py").write_text(
        f"import sys, beside\nprint(sys.argv[1:], beside.NAME, __name__)\nsys.exit({end})\n"
    )
    before = [*sys.argv], [*sys.path]
    try:
        assert run(Namespace(script=str(tmp_path / "it.py"), flags=["--a", "1"], command="plan")) == code
    finally:
        sys.modules.pop("beside", None)
    assert capsys.readouterr().out == "['--a', '1', '--plan'] beside __main__\n"
    assert ([*sys.argv], [*sys.path]) == before


def test_a_message_that_a_script_ends_with_is_left_to_python(tmp_path: Path) -> None:
    """It prints the message and ends with code 1."""
    (tmp_path / "it.py").write_text("import sys\nsys.exit('no data')\n")
    with pytest.raises(SystemExit, match="no data"):
        run(Namespace(script=str(tmp_path / "it.py"), flags=[], command="run"))


def test_a_script_that_raises_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "it.py").write_text("1 / 0\n")
    before = [*sys.argv], [*sys.path]
    with pytest.raises(ZeroDivisionError):
        run(Namespace(script=str(tmp_path / "it.py"), flags=[], command="run"))
    assert ([*sys.argv], [*sys.path]) == before
    (tmp_path / "it.py").write_text("x = 1\n")
    with pytest.raises(UserError, match=r"ran no study: it must call scl\.cli\.main"):
        run(Namespace(script=str(tmp_path / "it.py"), flags=[], command="run"))

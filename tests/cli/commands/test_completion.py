"""`scl completion`: what a shell needs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from scl.cli.command import SHELLS, main


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("results", "show", "plan", "export"))


def test_bash_completes(capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    main(["completion", "bash"])
    script = capsys.readouterr().out
    ask = 'COMP_WORDS=(scl re); COMP_CWORD=1; _shtab_scl; echo "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=30)
    assert {"results", "report"} <= set(run.stdout.split()), run.stderr
    ask = 'COMP_WORDS=(scl run studies/ablation.py --teacher-); COMP_CWORD=3; _shtab_scl; echo "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=30)
    assert {"--teacher-model", "--teacher-epochs"} <= set(run.stdout.split()), run.stderr


def test_an_unknown_shell_is_answered_with_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bsah"]) == 2
    assert capsys.readouterr().err == "error: unknown shell 'bsah' (did you mean 'bash'?); valid: bash, zsh, tcsh\n"

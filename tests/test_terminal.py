"""Names of strangers reach a terminal without control characters."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from scl import terminal
from scl.cli.command import main
from scl.errors import Damaged, RunFailed, UserError
from scl.run.live import Live
from scl.run.progress import Progress
from scl.store.files import open_folder
from scl.terminal import cell, printable, say, show
from tests.support.synthetic import make_store

HOSTILE = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\link": r"\x1b]8;;http://evil\x1b\link",
    "\x1b]52;c;cm0gLXJm\x07": r"\x1b]52;c;cm0gLXJm\x07",
    "\x9b2J\x9d0;t\x9c\x90q\x85": r"\x9b2J\x9d0;t\x9c\x90q\x85",
    "over\rwritten\x08\x7f\x00\x0b\x0c": r"over\rwritten\x08\x7f\x00\x0b\x0c",
    "\u202egnp.exe\u202c\u2066x": r"\u202egnp.exe\u202c\u2066x",
    "line\u2028separator\u2029": r"line\u2028separator\u2029",
    "half \udc80": r"half \udc80",
}
PLAIN = ("", "kd", "a\nb\tc", "± 0.5 – “é”", "שלום", "🧪👩\u200d🔬", "[bold]x[/]", "ａ", "\u00a0", r"\x1b")


def is_clean(text: str) -> bool:
    return not any(
        (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in text
    )


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_control_characters_are_written_out(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    say(text)
    show(text)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\n")
    for kind in (UserError, RunFailed, Damaged):
        assert str(kind(text)) == f"{kind(text)}" == shown
    assert cell(text).plain == shown


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays(text: str) -> None:
    assert printable(text) == text
    assert cell(text).plain == text


def test_isolates_are_left_out() -> None:
    assert printable("“\u2068שלום\u2069” won") == "“שלום” won"


def test_markup_of_rich_is_text() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    console.print(cell("[link=http://evil]x[/link] [red]y"))
    assert "[link=http://evil]x[/link] [red]y" in console.file.getvalue()  # type: ignore[attr-defined]


def test_progress_shows_names_clean(capsys: pytest.CaptureFixture[str]) -> None:
    names = dict(enumerate(HOSTILE))
    jobs = {str(i): name for i, name in names.items()}
    with Progress("\x1b[2Jtitle", jobs, dict.fromkeys(jobs, 1), Live(None)) as progress:
        progress.epoch("0", 1, 0.5)
        console = Console(file=io.StringIO(), width=200)
        console.print(progress.drawn())
        for job in jobs:
            progress.ended(job, "failed", "Traceback\n\x1b[1mValueError: \x9b")
    assert is_clean("".join(capsys.readouterr()))
    assert is_clean(console.file.getvalue())  # type: ignore[attr-defined]


def test_commands_show_a_hostile_store_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = ["baseline", *(name for name in HOSTILE if name.isprintable() or "\udc80" not in name)]
    make_store(tmp_path / "results" / "s", arms, range(2), data={"name": "\x1b[31mdata\x9b"}, question="\x1b[2J?")
    place = str(tmp_path / "results")
    for arguments in (["results", place], ["report", f"{place}/s"], ["show", place, "nosuch"]):
        main(arguments)
    for arm in arms:
        main(["show", place, f"{arm}/0"])
    printed = "".join(capsys.readouterr())
    assert r"\x1b[31mred" in printed
    assert is_clean(printed)


def test_names_of_files_are_shown_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = open_folder(str(tmp_path)) / "\x1b[31m"
    folder.write("a\x9b", b"")
    folder.set_aside("a\x9b", "\x07")
    assert is_clean(capsys.readouterr().err)


def test_progress_in_a_log_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("decoding images", 4, seconds=0.0) as advance:
        advance(1)
        advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(", about")[0] for line in lines] == ["decoding images: 1 of 4", "decoding images: 3 of 4"]
    with terminal.progress("decoding images", 4) as advance:
        advance(4)
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(terminal, "in_a_log", lambda: False)
    with terminal.progress("decoding images", 4) as advance:
        advance(4)
    assert capsys.readouterr().out == ""

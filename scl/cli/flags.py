"""The flags of a study file, made from the declaration in `scl.study.options`."""

from __future__ import annotations

import argparse
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scl.cli.exits import Parser
from scl.errors import UserError, unknown
from scl.masking import masked_command
from scl.streams import name_of
from scl.study.checks import Check
from scl.study.options import Options, flags_of, no_such_option, options_for
from scl.study.study import Study

CODES = "Exit codes: 0 all trials done, 1 some failed, 2 bad arguments, 3 time budget reached, 130 interrupted."


def flag(name: str) -> str:
    """The flag of an option: `batch_size` is `--batch-size`."""
    return f"--{name.replace('_', '-')}"


def parsed(study: Study, script: str, flags: Sequence[str]) -> Options:
    """The options that flags ask for. `script`: the study's file.

    Raises:
        UserError: a flag does not exist for this study, or its value is refused.
    """
    return parsed_with(study, script, flags)[0]


def parsed_with(
    study: Study, script: str, flags: Sequence[str], more: argparse.ArgumentParser | None = None
) -> tuple[Options, dict[str, Any]]:
    """The options, and the values of further flags that a script adds: `more`, a parser without help of its own."""
    given, rest = parser(study, script, more).parse_known_args(flags)
    if rest:
        first = rest[0].partition("=")[0]
        if first.startswith("--"):
            raise UserError(no_such_option(study, first.removeprefix("--").replace("-", "_"), flag, "flag"))
        raise UserError(unknown("argument", first, map(flag, flags_of(study))))
    command = name_of(masked_command([Path(script).name, *flags]))
    values = vars(given)
    others = {name: values.pop(name) for name in list(values) if name not in flags_of(study)}
    return replace(options_for(study, values, flag), command=command, script=script), others


def parser(study: Study, script: str, more: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    optional = f" Only if asked for: {', '.join(study.asked_for)}." if study.asked_for else ""
    arms = f"Arms: {', '.join(a for a in study.arms if a not in study.asked_for)}.{optional}"
    p = Parser(
        prog=Path(script).name,
        description=textwrap.fill(study.question, 100),
        epilog="\n\n".join([textwrap.fill(arms, 100), _examples(Path(script).name, study), CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[more] if more else [],
    )
    add_flags(p, study)
    return p


def add_flags(p: argparse.ArgumentParser, study: Study) -> None:
    """The flags of a study, in groups; their help states its defaults. Values are checked by `options_for`."""
    groups: dict[str, Any] = {}
    for name, about in flags_of(study).items():
        group = groups.setdefault(about.group, None) or p.add_argument_group(about.group)
        groups[about.group] = group
        help_text = about.help if isinstance(about.help, str) else about.help(study)
        if about.metavar:
            action = "append" if about.repeatable else "store"
            group.add_argument(flag(name), dest=name, metavar=about.metavar, help=help_text, action=action)
        else:
            group.add_argument(flag(name), dest=name, help=help_text, action="store_const", const=True)


def checked(given: argparse.Namespace, checks: Mapping[str, Check]) -> argparse.Namespace:
    """Flags of a command, those with a check as it gives them; None stays. Raises UserError with the flag's name."""
    values = vars(given).copy()
    for name, check in checks.items():
        try:
            values[name] = None if values[name] is None else check(values[name])
        except ValueError as error:
            raise UserError(f"--{name}: {error}") from None
    return argparse.Namespace(**values)


def _examples(script: str, study: Study) -> str:
    other = next((arm for arm in study.arms if arm != study.baseline), study.baseline)
    lines = (
        (f"{script} --plan", "what would run, and its cost"),
        (f"{script} --arms {shlex.quote(other)} --seeds 5", "that arm beside the baseline, five seeds"),
        (f"{script} --data path/to/images", "train/CLASS/*.png, test/CLASS/*.png"),
        (f"{script} --teacher mine.pt --teacher-model resnet32x4", "your teacher"),
        (f"{script} --address auto --out s3://bucket/results", "a running Ray cluster"),
    )
    width = max(len(line) for line, _ in lines) + 2
    return "examples:\n" + "\n".join(f"  {line:{width}}{what}" for line, what in lines)

"""Writes two pages from the code: docs/cli.md from the parsers, docs/api.md from signatures, fields and docstrings.

    uv run docs/reference.py

A test compares the pages with what this script makes, so they cannot go stale. Every parameter and field must have a
description: a docstring that lacks one, or describes one that is gone, is an error here.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import runpy
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import scl
from scl.cli.command import parser as command_parser
from scl.cli.flags import CODES
from scl.cli.flags import parser as study_parser
from scl.study.config import Config
from scl.study.options import Options
from scl.study.scales import Scale
from scl.study.search import Search
from scl.study.study import Study

DOCS = Path(__file__).parent
FOLDER = DOCS.parent / "studies"
MADE = "<!-- Made by docs/reference.py; do not edit. -->"

# Sections of docs/api.md: title → names. A method stands after its class.
API: Mapping[str, Sequence[str]] = {
    "Run studies and read results": (
        "scl.run", "scl.plan", "scl.plan.estimate.PlanSummary", "scl.load", "scl.Results", "scl.Results.summary",
        "scl.Results.verdict", "scl.Results.figure", "scl.Results.find", "scl.Results.logits", "scl.load_student",
        "scl.students.student.Student", "scl.cli.main",
    ),
    "Write studies": (
        "scl.Study", "scl.Config", "scl.Config.replace", "scl.Term", "scl.Setting", "scl.Scale",
        "scl.study.study.Published",
    ),
    "Designs": (
        "scl.designs.Design", "scl.designs.grid", "scl.designs.fractional", "scl.designs.resolution",
        "scl.designs.one_at_a_time", "scl.designs.leave_one_out", "scl.designs.add_one_in", "scl.designs.on_off",
        "scl.controls.self_taught_controls",
    ),
    "Declared comparisons": ("scl.study.contrasts",),
    "Searches": ("scl.Search", "scl.Float", "scl.Int", "scl.Choice", "scl.Branch"),
    "Errors": ("scl.UserError", "scl.RunFailed"),
    "Networks": ("scl.models.build_model",),
    "Losses": ("scl.losses", *(f"scl.losses.{name}" for name in scl.losses.__all__)),
}  # fmt: skip
DEFAULT = re.compile(r" ?\(default: ((?:[^()]|\([^()]*\))*)\)")
GOT = ("PlanSummary", "Results", "Student")  # classes that users get and do not make
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Example")

STUDIES = (
    "ablation", "components", "depth", "self_taught", "own", "search", "weights", "teachers", "headline",
    "headline_search", "claim", "claim_search", "benchmark",
)  # fmt: skip


class Docstring(NamedTuple):
    """The parts of a docstring. text: paragraphs outside of sections. sections: title → text without its indent."""

    text: str
    sections: dict[str, str]


def main() -> None:
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "api.md").write_text(api_page(), encoding="utf-8")


# The command line


def page(title: str, about: str, blocks: Iterable[str]) -> str:
    return "\n\n".join([f"# {title}", MADE, about, *filter(None, blocks)]) + "\n"


def cli_page() -> str:
    general = any_study()
    about = (
        "Two kinds of commands: `scl COMMAND` looks at results, and a study file (`uv run studies/ablation.py`, or a "
        "[file of yours](how-to.md#write-a-study)) trains. `--help` of each prints what stands here. In Python, a flag "
        f"is a keyword of [`scl.run`](api.md#sclrun). {CODES}"
    )
    blocks = ["## The command `scl`"]
    for name, p in commands():
        blocks += [f"### `scl {name}`", *command(p)]
    blocks += [
        "## The flags of a study file",
        "Every study file has these flags; those under *Search* need a study with a search. Defaults here are those of "
        "a study that sets nothing else; those of [the built-in studies](#the-built-in-studies) stand below.",
    ]
    for title, actions in groups(general):
        blocks += [f"### {title}", table(actions)]
    blocks += [
        "## The built-in studies",
        "For each study: its arms, its sizes if it has several, and the flags that differ from those above.",
    ]
    for name in STUDIES:
        blocks += built_in(name, general)
    return page("Command line", about, blocks)


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands of `scl` in the order of its help."""
    (commands,) = (a for a in command_parser()._actions if isinstance(a, argparse._SubParsersAction))
    yield from commands.choices.items()


def any_study(**more: Any) -> Study:
    """A study with a search, whose defaults are those of `Study` and `Config`."""
    return Study(name="any", question="?", arms={"baseline": {}}, search=Search({}), **more)


def groups(study: Study, more: argparse.ArgumentParser | None = None) -> list[tuple[str, list[argparse.Action]]]:
    """Title → the flags of each group of a study's help, without `--help`."""
    p = study_parser(study, "STUDY.py", more)
    found = [(group.title or "", [a for a in group._group_actions if a.dest != "help"]) for group in p._action_groups]
    return [(title[:1].upper() + title[1:], actions) for title, actions in found if actions]


def command(p: argparse.ArgumentParser) -> list[str]:
    usage = " ".join(p.format_usage().removeprefix("usage: ").split()).replace("[-h] ", "")
    actions = [action for action in p._actions if action.dest != "help"]
    return [p.description or "", f"```console\n{usage}\n```", table(actions)]


def table(actions: Sequence[argparse.Action]) -> str:
    rows = [[f"`{spelled(action)}`", default_of(action), meaning(action)] for action in actions]
    return markdown_table(["argument", "default", "meaning"], rows)


def spelled(action: argparse.Action) -> str:
    value = str(action.metavar or "") if action.nargs != 0 else ""
    return " ".join(filter(None, [", ".join(action.option_strings), value.replace("|", " or ")]))


def default_of(action: argparse.Action) -> str:
    """The default that the help states; of a switch, that it is off.

    Raises:
        ValueError: the help of what may be left out does not say what happens then.
    """
    if stated := DEFAULT.search(action.help or ""):
        return stated[1]
    if action.nargs == 0:
        return "off"
    if action.required or (not action.option_strings and action.nargs not in ("?", "*")):
        return "none" if action.nargs == argparse.REMAINDER else "must be given"
    raise ValueError(f"{spelled(action)}: its help ends without (default: …)")


def meaning(action: argparse.Action) -> str:
    return " ".join(DEFAULT.sub("", action.help or "").replace("%%", "%").split())


def with_flags(name: str) -> tuple[Study, argparse.ArgumentParser | None]:
    """A built-in study with all of its flags, and a parser of those that its script adds."""
    sys.path.insert(0, str(FOLDER))  # as Python does for a script: one imports another
    try:
        script = runpy.run_path(str(FOLDER / f"{name}.py"), run_name=name)
    finally:
        sys.path.remove(str(FOLDER))
    study = script["STUDY"]
    if name == "own":  # its flags are those of its second step
        study = script["searching"](study, study.baseline, trials=40)
    return study, script["more_flags"]() if "more_flags" in script else None


def built_in(name: str, general: Study) -> list[str]:
    study, more = with_flags(name)
    known = {a.dest: (a.help, spelled(a)) for _, actions in groups(general) for a in actions}
    own = [a for _, actions in groups(study, more) for a in actions if known.get(a.dest) != (a.help, spelled(a))]
    arms = [f"`{arm}`" for arm in study.arms if arm not in study.asked_for]
    optional = [f"`{arm}`" for arm in study.asked_for]
    several = f"{len(study.arms)} arms, as in {', '.join(arms[:3])}" if len(arms) > 16 else ", ".join(arms)
    says = f"Arms: {several}." + (f" Only if asked for: {', '.join(optional)}." if optional else "")
    return [
        f"### `studies/{name}.py`",
        study.question,
        says + (" It has a search." if study.search else ""),
        markdown_table(["--scale", "data", "--limit", "--val", "--seeds", "students", "teacher"], scales(study)),
        table(own),
    ]


def scales(study: Study) -> list[list[str]]:
    """What each size of a study sets."""
    return [
        [f"`{name}`", s.data, str(s.limit or "all"), f"{s.val:g}", str(s.seeds), fields(s.student), fields(s.teacher)]
        for name, s in study.scales.items()
    ]


def fields(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items())


# Python


def api_page() -> str:
    about = (
        "Scripts and notebooks may rely on these names. `import scl` loads each module when its name is first used. "
        "Every example stands alone; those that read `results/ablation` need the results of `studies/ablation.py`."
    )
    names = [name for names in API.values() for name in names]
    rows = [[f"[`{name}`](#{anchor(name)})", first_sentence(name)] for name in names]
    blocks = [markdown_table(["name", "what it is"], rows)]
    for title, of_section in API.items():
        blocks += [f"## {title}", *map(entry, of_section)]
    blocks += [
        "## Options of `scl.run` and `scl.plan`",
        "Each is a flag of a study file: `batch_size` is `--batch-size` ([the command line](cli.md)). None takes the "
        "study's value.",
        options_table(),
    ]
    return page("Python API", about, blocks)


def found(name: str) -> Any:
    """The object of a dotted name that starts with `scl`."""
    thing: Any = scl
    for part in name.split(".")[1:]:
        try:
            thing = getattr(thing, part)
        except AttributeError:
            thing = import_module(f"{thing.__name__}.{part}")
    # `scl.run` and others are functions and packages in one; their docstring is that of the function.
    return getattr(import_module("scl.api"), name[4:]) if name in ("scl.run", "scl.plan") else thing


def first_sentence(name: str) -> str:
    text = " ".join(docstring(name).text.partition("\n\n")[0].split())
    return re.split(r"(?<=[^.])\. (?=[A-Z`])|(?<=\w)\.$|: ", text)[0].rstrip(".")


def anchor(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def docstring(name: str) -> Docstring:
    text, sections, title = [], {}, ""
    for line in (inspect.getdoc(found(name)) or "").splitlines():
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            title = line.rstrip(":")
            sections[title] = ""
        elif title and (not line or line.startswith(" ")):
            sections[title] += line.removeprefix("    ") + "\n"
        else:
            title = ""
            text.append(line)
    return Docstring("\n".join(text).strip(), {title: body.strip() for title, body in sections.items()})


def described(body: str) -> dict[str, str]:
    """Name → description of a section such as `Args`; one entry may describe several names."""
    entries: dict[str, str] = {}
    for item in re.split(r"\n(?! )", body) if body else ():
        names, _, about = item.partition(": ")
        for name in names.split(", "):
            entries[name.strip()] = " ".join(about.split())
    return entries


def entry(name: str) -> str:
    """Heading, signature, description, table of parameters or fields, what it returns and raises, and an example."""
    thing, (text, sections) = found(name), docstring(name)
    blocks = [f"### `{name}`"]
    if inspect.isroutine(thing) or (inspect.isclass(thing) and name.startswith("scl.losses")):
        blocks.append(f"```text\n{signature(name, thing)}\n```")
    blocks.append(text)
    if not isinstance(thing, ModuleType):
        blocks.append(markdown_table(*parameters(name, thing, sections)))
    if "Returns" in sections:
        blocks.append(f"**Returns** {' '.join(sections['Returns'].split())}")
    if "Raises" in sections:
        raised = described(sections["Raises"]).items()
        blocks.append("**Raises**\n\n" + "\n".join(f"- `{error}`: {about}" for error, about in raised))
    if "Example" in sections:
        blocks.append(f"```python\n{sections['Example']}\n```")
    return "\n\n".join(filter(None, blocks))


def signature(name: str, thing: Any) -> str:
    of = inspect.signature(thing)
    shown = ", ".join(str(p.replace(annotation=p.empty)) for n, p in of.parameters.items() if n != "self")
    result = "" if of.return_annotation in (of.empty, "None") else f" → {of.return_annotation}"
    return f"{name.rpartition('.')[2]}({shown}){result}"


def parameters(name: str, thing: Any, sections: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of parameters or fields.

    Raises:
        ValueError: a parameter has no description, or a description no parameter.
    """
    about = described(sections.get("Attributes", "")) | described(sections.get("Args", ""))
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return [], []
    if inspect.isclass(thing) and thing.__name__ in GOT:
        kinds = {n: attribute_type(thing, n) for n in about}
        return ["attribute", "type", "meaning"], [[f"`{n}`", f"`{kinds[n]}`", text] for n, text in about.items()]
    if dataclasses.is_dataclass(thing):
        named = {f.name: (str(f.type), field_default(f)) for f in dataclasses.fields(thing) if f.init}
    else:
        known = {n: p for n, p in inspect.signature(thing).parameters.items() if n != "self"}
        named = {n: (str(p.annotation), parameter_default(p)) for n, p in known.items()}
    if missing := [n for n in named if n not in about]:
        raise ValueError(f"{name}: its docstring does not describe {', '.join(missing)}")
    if gone := [n for n in about if n not in named]:
        raise ValueError(f"{name}: its docstring describes what does not exist: {', '.join(gone)}")
    rows = [[f"`{n}`", f"`{in_words(kind)}`", default, about[n]] for n, (kind, default) in named.items()]
    return (["name", "type", "default", "meaning"], rows)


def attribute_type(thing: type, name: str) -> str:
    """The type of an attribute or property of a class. Raises ValueError if the class has no such attribute."""
    static = inspect.getattr_static(thing, name, None)
    if isinstance(static, property):
        return in_words(str(inspect.signature(static.fget).return_annotation))  # type: ignore[arg-type]
    for base in thing.__mro__:
        if kind := inspect.get_annotations(base).get(name):
            return in_words(str(kind))
    raise ValueError(f"{thing.__name__}: its docstring describes {name}, which has no annotation")


def in_words(kind: str) -> str:
    """A type as the tables write it: `|` would end a cell."""
    return kind.strip("'").replace("Model", "str | type").replace(" | ", " or ").replace("Collection[", "list[")


def field_default(f: dataclasses.Field[Any]) -> str:
    if f.default is not dataclasses.MISSING:
        return f"`{f.default!r}`"
    if f.default_factory is not dataclasses.MISSING:
        value = f.default_factory()
        return f"`{config_text(value) if isinstance(value, Config) else repr(value)}`"
    return "must be given"


def config_text(config: Config) -> str:
    """A configuration by the fields that differ from their defaults."""
    changed = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(Config(), f.name)]
    return f"Config({', '.join(f'{name}={getattr(config, name)!r}' for name in changed)})"


def parameter_default(p: inspect.Parameter) -> str:
    variable = p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    return "" if variable else "must be given" if p.default is p.empty else f"`{p.default!r}`"


def options_table() -> str:
    helps = {a.dest: meaning(a) for _, actions in groups(any_study(scales={"NAME": Scale()})) for a in actions}
    rows = [
        [f"`{f.name}`", f"`{in_words(str(f.type))}`", f"`{f.default!r}`", helps[f.name]]
        for f in dataclasses.fields(Options)
        if f.metadata
    ]
    return markdown_table(["keyword", "type", "default", "meaning"], rows)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()

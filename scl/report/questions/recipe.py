"""How can this be reproduced? A command to copy, what it needs, and every setting of students and teacher."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from scl.masking import HIDDEN
from scl.report.blocks import Block, Code, Column, Heading, Pairs, Panel, Table
from scl.report.facts import Facts
from scl.report.formatting import capital, enumerated, format_seeds, moment, plain, plural
from scl.report.rebuilt import KEPT, NotRebuilt, rebuilt
from scl.report.recipe import parts, recipe
from scl.report.tables import number_table, text_cell
from scl.report.tuning import tuning
from scl.study.options import Options
from scl.study.spelled import flags, in_ranges

TITLE = "How can this be reproduced?"
MOST_ARMS = 200  # whose settings the page lists
END = "END_OF_STUDY"


def panel(facts: Facts) -> Panel:
    study = facts.study
    arms: dict[str, dict[str, Any]] = study.get("arms") or {}
    if not arms:
        return Panel("recipe", TITLE, "The store does not hold the settings of its arms.")
    commands, needs = _commands(study)
    blocks: list[Block] = [*commands]
    if needs:
        blocks.append(Pairs(needs))
    blocks.append(Heading("Recipe of the students"))
    auto = str(study.get("auto_augment") or "")
    shared, own = recipe(arms, auto)
    tuned = tuning(facts)
    if len(set(tuned.values())) == 1:
        shared.append(("Tuning", capital(tuned[next(iter(tuned))])))
    else:
        own["Tuning"] = tuned
    blocks.append(Pairs([*shared, *_surroundings(facts)]))
    if own:
        blocks.append(_arms_table(own, len(arms)))
    if config := (study.get("teacher") or {}).get("config"):
        blocks += [Heading("Recipe of the teacher"), Pairs(_teacher(study["teacher"], config, auto))]
    said = "Copy a block into a shell" if commands else "This store holds no command that is sure to run"
    answer = f"{said}; below it is every setting, defaults too."
    return Panel("recipe", TITLE, answer, blocks)


# The commands


def _commands(study: Mapping[str, Any]) -> tuple[list[Code], list[tuple[str, str]]]:
    """Blocks that run, and what a reader needs for them."""
    asked = study.get("asked") or {}
    options = _options(study, asked)
    blocks, needs = [], []
    about = _about(study)
    # No other file and no other flags than those of a study, whoever wrote the record: a reader runs what stands here.
    named = re.fullmatch(r"[^-].*\.py", str(asked.get("script") or ""))
    if options and named and not asked.get("lacking"):
        words = ["python", str(asked["script"]), *flags(options)]
        blocks.append(Code("With the study’s file", "\n".join([*about, shlex.join(words)])))
        needs.append(("The study’s file", _file_needed(study, asked)))
    elif options:
        needs.append(("The study", _code_needed(asked)))
    else:
        needs.append(
            ("The command", "Stands in “What ran?” as it was typed. Given once more, it records one that runs.")
        )
    try:
        again, source = rebuilt(study)
    except NotRebuilt as reason:
        needs.append(("From this page alone", f"Not possible: {reason}."))
    else:
        if options:
            blocks.append(Code("From this page alone", _from_page(study, about, source, options)))
            needs.append(("From this page alone", _alone(study, again.name)))
    return blocks, [*needs, *_inputs(study, options)] if options else needs


def _options(study: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, list[str]]:
    """What was asked for, with the device and threads of the run that trained; empty if the record does not say."""
    known = {field.name for field in dataclasses.fields(Options) if field.metadata}
    found = {name: texts for name, texts in (asked.get("options") or {}).items() if name in known}
    trained = {name: [str(study[name])] for name in ("device", "cpus_per_trial") if study.get(name)}
    return {**found, **trained} if found else {}


def _about(study: Mapping[str, Any]) -> list[str]:
    """Comments on top of a command: when, by which code and packages."""
    git, versions = study.get("git") or {}, {k: v for k, v in (study.get("versions") or {}).items() if v}
    python = versions.pop("python", "")
    packages = " ".join(f"{name}=={version}" for name, version in sorted(versions.items()))
    when = moment(study.get("started"))
    lines = [f"# {plain(study.get('study'))}" + (f", run on {when}" if when else "")]
    if commit := git.get("commit"):
        changed = "   (its code had uncommitted changes)" if git.get("dirty") else ""
        lines.append(f"# Code: git checkout {plain(commit)}{changed}")
    if packages:
        lines.append(f"# Python {plain(python)}: {plain(packages)}")
    return lines


def _from_page(
    study: Mapping[str, Any], about: Sequence[str], source: str, options: Mapping[str, Sequence[str]]
) -> str:
    name = f"{plain(study['study'])}_from_page.py"
    kept = {option: texts for option, texts in options.items() if option in KEPT}
    if not _is_file(kept.get("teacher", [""])[0]):
        kept.pop("teacher", None)  # published weights, which are in the teacher's configuration
    if study.get("search_space"):  # the winners, on the seeds that they were confirmed on
        seeds = sorted({int(trial["seed"]) for trial in study.get("plan") or [] if trial["arm"] in study["arms"]})
        kept = {option: texts for option, texts in kept.items() if option != "seeds"}
        kept |= {"seed_list": [in_ranges(seeds)]} if seeds else {}
    kept["teacher_epochs"] = [str(study["teacher"]["epochs"])] if study["teacher"].get("epochs") else []
    if not kept["teacher_epochs"]:
        del kept["teacher_epochs"]
    command = shlex.join(["python", name, *flags(kept)])
    return "\n".join([*about, f"cat > {shlex.quote(name)} <<'{END}'", source, END, command])


def _is_file(teacher: str) -> bool:
    return bool(teacher) and not teacher.startswith(("torchvision:", "timm:"))


def _file_needed(study: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    file, git = plain(asked["script"]), study.get("git") or {}
    if not asked.get("in_git"):
        return f"{file} is in no commit of git, so it must come from its author; the other block does without."
    if git.get("dirty"):
        return f"{file}, at the commit above; code had changes then that this commit lacks, so numbers may differ."
    return f"{file}, at the commit above."


def _code_needed(asked: Mapping[str, Any]) -> str:
    if lacking := asked.get("lacking"):
        given = enumerated([f"{plain(name)}" for name in lacking])
        return f"Run from Python with {given} as objects, which no flag can give: its author’s code is needed."
    return "Run from Python with scl.run, so there is no file to call; the block holds the study itself."


def _alone(study: Mapping[str, Any], name: str) -> str:
    text = f"The block writes a study file, {name}_from_page.py, with the settings that this run had, and calls it."
    if study.get("search_space"):
        text += " It trains the baseline and the winners of the search, not the search."
    if study.get("factors"):
        text += " Its arms are listed one by one, so its page has no panel about factors."
    return text


def _inputs(study: Mapping[str, Any], options: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Data, teacher, machine: what no command brings along."""
    data, needs = study.get("data") or {}, []
    place = options.get("data", [""])[0]
    if place and place == data.get("name") and "/" not in place:
        where = "comes with scl" if place == "digits" else "is downloaded on first use"
        needs.append(("Data", f"{plain(place)} {where}."))
    elif place:
        needs.append(("Data", f"{plain(place)} is a path of the machine that ran this: put your copy’s instead."))
    if fingerprint := data.get("fingerprint"):
        needs.append(
            ("Same data?", f"Then your page shows the data fingerprint {plain(fingerprint)[:16]}…, as this one.")
        )
    teacher = options.get("teacher", [""])[0]
    if _is_file(teacher):
        needs.append(("Teacher", f"The file {plain(teacher)}: a teacher from elsewhere, which no command can train."))
    if any(HIDDEN in text for texts in options.values() for text in texts):
        needs.append(("Hidden", f"{HIDDEN} stands for a password or key: put your own."))
    needs.append(
        (
            "Same numbers?",
            "On another type of processor, with other versions, or on a GPU without --deterministic, numbers differ in "
            "their last digits, and after many steps by as much as another seed’s.",
        )
    )
    return needs


# The words


def _surroundings(facts: Facts) -> list[tuple[str, str]]:
    """What the arms' settings do not contain: seeds, split, device, selection."""
    study = facts.study
    data, options = study.get("data") or {}, (study.get("asked") or {}).get("options") or {}
    seeds = sorted({int(seed) for seed in facts.plan["seed"]})
    counts = [f"{data[part]:,} {word}" for part, word in (("train", "train"), ("val", "validate"), ("test", "test"))
              if data.get(part) is not None]  # fmt: skip
    held = f", {100 * data['val_share']:.12g} % of training held out" if data.get("val_share") else ""
    split = f"{', '.join(counts)}{held}, seed {data['split_seed']}" if data.get("split_seed") is not None else ""
    devices = sorted({plain(device) for device in facts.trials["device"].dropna()})
    threads = study.get("cpus_per_trial")
    where = ", ".join([*devices[:4], *([plural(int(threads), "thread")] if threads else [])])
    where += ", deterministic kernels" if "deterministic" in options else ""
    return [
        (term, text)
        for term, text in (
            ("Seeds", f"{format_seeds(seeds)}: initial weights, order of the images, augmentation" if seeds else ""),
            ("Split", split),
            ("Device", where),
            ("Selection", plain(study.get("selection") or "")),
        )
        if text
    ]


def _arms_table(own: Mapping[str, Mapping[str, str]], count: int) -> Table:
    """A row for each arm, a column for each heading that differs between arms."""
    wide = "settings" if len(own) == 1 else "setting"  # the page gives one column more room
    columns = [Column(wide, heading, number=False) for heading in own]
    names = list(next(iter(own.values())))
    rows = [(arm, [text_cell(own[heading][arm] or "none") for heading in own]) for arm in names[:MOST_ARMS]]
    if count > MOST_ARMS:
        rows.append((f"{count - MOST_ARMS:,} more", [text_cell("in study.json") for _ in own]))
    return number_table(columns, rows, label="What differs by arm")


def _teacher(teacher: Mapping[str, Any], config: Mapping[str, Any], auto: str) -> list[tuple[str, str]]:
    source = str(teacher.get("source") or "")
    trained = source in ("trained here", "file, fine-tuned here") or not source
    said = {heading: text for heading, text in parts(config, auto).items() if text}
    kept = said if trained else {"Network": said["Network"]}
    several = teacher.get("teachers")
    which = "one for each seed" if teacher.get("per_seed") else f"{several} of them" if several else "one for all seeds"
    return [("Origin", ", ".join(filter(None, [plain(source), which]))), *kept.items()]

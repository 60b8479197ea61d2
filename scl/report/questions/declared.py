"""What was declared before anything trained, what does it answer, and what came later?"""

from __future__ import annotations

from collections.abc import Iterable

from scl.report.agreed import Agreed, by_rule, other_arms, plan_of, winners_of
from scl.report.blocks import Block, Cell, Column, Heading, Note, Pairs, Panel, Row, Table
from scl.report.facts import Facts
from scl.report.findings import answered
from scl.report.formatting import capital, enumerated, format_seeds, moment, name_of, plain, plural
from scl.report.registered import Registered, answers, later, registered, rule_in_words
from scl.report.tables import text_cell
from scl.store.declaration import NAME, read_declaration
from scl.study.contrasts import direction

TITLE = "What was declared, and what came later?"
NOTHING = (
    "This study has no declaration: --declare before the first run writes contrasts, arms, seeds and rule into a "
    "signed file."
)
PROOF = (
    f"The hash is the SHA-256 of {NAME} as canonical JSON, without the hash itself. It shows that the file is as it "
    "was written, unless somebody computed it anew. It proves neither who wrote the file nor when: compare it with the "
    "hash that was put elsewhere before the results were there, such as in a commit or a preregistration."
)
DECLARED, LATER, NOT_RUN, CHANGED = (
    "declared",
    "added later",
    "declared, not in this run",
    "declared with other settings",
)


def panel(facts: Facts) -> Panel:
    found = registered(facts)
    if found is None:
        lost = read_declaration(facts.results.store, facts.study)
        faults = "; ".join(lost.faults) if lost else ""
        return Panel("declared", TITLE, f"The declaration cannot be read: {plain(faults)}." if faults else NOTHING)
    agreed = found.agreed
    differs = f"{plural(len(found.changes), 'thing')} differ{'s' * (len(found.changes) == 1)}"
    counts = [_questions(agreed), plural(len(agreed.arms), "arm"), plural(len(agreed.seeds), "seed")]
    answer = f"Declared on {found.signed}: {', '.join(counts)}. "
    answer += f"{differs} from the declaration, as listed below." if found.changes else "Nothing differs from it."
    blocks: list[Block] = [Heading("Answers at the declared rule"), Pairs(answers(found))]
    if found.changes:
        blocks += [Heading("What differs from the declaration"), *(Note(f"{capital(c)}.") for c in found.changes)]
    if added := later(facts, found):
        asked = [(plain(one.question), answered(facts, one)) for one in added]
        blocks += [Heading("Contrasts added later"), Pairs(asked)]
    columns = [Column("kind", "What", number=False), Column("name", "Name", number=False)]
    columns += [Column("status", "Declared or later", number=False)]
    blocks += [
        Heading("Declared and later"),
        Table(columns, list(_rows(facts, found)), label="What was declared, and what came later"),
        Pairs(_about(facts, found)),
        Note(f"All else on this page was not declared, and is there to explore. {PROOF}"),
    ]
    return Panel("declared", TITLE, answer, blocks)


def _questions(agreed: Agreed) -> str:
    asked = len(agreed.contrasts) + bool(agreed.against)
    return plural(asked, "contrast") if asked else "every arm against the baseline"


def _rows(facts: Facts, found: Registered) -> Iterable[Row]:
    """Contrasts, arms and seeds, each declared or later."""
    agreed, study = found.agreed, facts.study
    now, winners = plan_of(study), winners_of(study, agreed)
    present = {direction(c["weights"]) for c in study.get("contrasts") or []}
    for contrast in agreed.contrasts:
        yield _row("contrast", contrast["question"], DECLARED if direction(contrast["weights"]) in present else NOT_RUN)
    for one in later(facts, found):
        yield _row("contrast", one.question, LATER)
    against = str((study.get("declared") or {}).get("arm") or "")
    for arm in dict.fromkeys(filter(None, (agreed.against, against))):
        status = LATER if arm != agreed.against else DECLARED if arm == against else NOT_RUN
        yield _row("contrast", f"{name_of(arm)} against its teacher", status)
    arms = list(dict.fromkeys(arm for arm, _ in now))
    changed = other_arms(agreed, study)
    for arm in dict.fromkeys([*agreed.arms, *arms]):
        if arm in winners:
            status = "chosen by the declared search"
        elif arm not in agreed.arms:
            status = LATER
        else:
            status = NOT_RUN if arm not in arms else CHANGED if arm in changed else DECLARED
        yield Row([Cell("arm"), Cell(arm, arm=arm), text_cell(status)], arm=arm)
    seeds: dict[str, list[int]] = {DECLARED: [], NOT_RUN: [], "added by the declared rule": [], LATER: []}
    of_seed: dict[int, list[str]] = {}
    for arm, seed in now:
        of_seed.setdefault(seed, []).append(arm)
    for seed in sorted({*agreed.seeds, *of_seed}):
        if seed in agreed.seeds:
            seeds[DECLARED if seed in of_seed else NOT_RUN].append(seed)
        else:
            ruled = all(by_rule(agreed, arm, seed) for arm in of_seed[seed])
            seeds["added by the declared rule" if ruled else LATER].append(seed)
    for status, some in seeds.items():
        if some:
            yield _row("seeds", format_seeds(some), status)


def _row(kind: str, name: str, status: str) -> Row:
    return Row([text_cell(kind), text_cell(plain(name)), text_cell(status)])


def _about(facts: Facts, found: Registered) -> list[tuple[str, str]]:
    """The rule, and where the declaration comes from."""
    agreed, parts = found.agreed, found.declaration.parts
    teachers = sum(int((part.get("teacher") or {}).get("trained_before") or 0) for part in parts)
    items = [
        ("Rule", rule_in_words({**agreed.about, "rule": agreed.rule})),
        ("Declared", enumerated([moment(part["when"]) for part in parts])),
        ("SHA-256", enumerated([str(part.get("sha256")) for part in parts])),
        ("Code when it was declared", enumerated(list(dict.fromkeys(_commit(part) for part in parts)))),
        ("Code of the results", _commit(facts.study)),
        ("Teachers", f"{plural(teachers, 'teacher')} had trained before the declaration" if teachers else ""),
        ("Command", enumerated([plain(part.get("command") or "") for part in parts])),
    ]
    return [(term, plain(text)) for term, text in items if text]


def _commit(record: dict[str, object]) -> str:
    git = record.get("git")
    if not isinstance(git, dict) or not git.get("commit"):
        return "unknown"
    return f"commit {git['commit']}" + (", with uncommitted changes" if git.get("dirty") else "")

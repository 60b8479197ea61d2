"""The record in study.json: what was planned, by which command and code, on which machine and data."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from scl.errors import UserError
from scl.machine import cores, physical_memory
from scl.plan.looks import looked_at
from scl.plan.plan import Plan
from scl.run.declared import declarations
from scl.store.declaration import read_declaration
from scl.store.schema import SCHEMA_VERSION, now
from scl.store.study_file import read_study
from scl.streams import name_of
from scl.study.augment import without_auto
from scl.study.identity import requested, sha256
from scl.study.metrics import DEFAULT, METRICS
from scl.study.space import ranges
from scl.study.spelled import spelled

PACKAGES = ("scl-studies", "torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow")
# These describe the run that trained: a later run that finds nothing to train keeps them.
OF_TRAINING = ("git", "versions", "hardware", "slots", "cpus_per_trial", "device", "started", "ended", "wall_seconds")
SELECTION = "validation alone selects; test accuracy is that of the last epoch"


def _selection(plan: Plan) -> str:
    """What the reported accuracies are those of."""
    said = {
        "with patience, of the epoch with the best validation accuracy": lambda config: config.patience > 0,
        "with ema, of the average of the weights": lambda config: config.ema > 0,
    }
    configs = [*plan.arms.values(), *([plan.template] if plan.study.search else [])]
    return "; ".join([SELECTION, *(text for text, holds in said.items() if any(map(holds, configs)))])


def study_record(plan: Plan, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """What study.json holds for this plan.

    earlier: its present content, of which the store keeps what was declared and looked at. None: as it is read.
    """
    options = plan.options
    earlier = earlier_record(plan) if earlier is None else earlier
    looks = earlier.get("looks", [])
    seeds = plan.seeds
    declared = declarations(plan, earlier)
    metric = {} if plan.study.metric == DEFAULT else {"metric": plan.study.metric}
    last = looks[-1] if looks else {}
    now_at = (seeds, looked_at(plan), plan.study.metric)
    if (last.get("seeds"), last.get("of", looked_at(plan)), last.get("metric", DEFAULT)) != now_at:
        planned = {"planned": len(seeds) in declared["planned_looks"]} if declared["planned_looks"] else {}
        looks = [*looks, {"when": now().isoformat(), "seeds": seeds, "of": looked_at(plan), **planned, **metric}]
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.study.name,
        "question": plan.study.question,
        "baseline": plan.study.baseline,
        "arms": {name: requested(config) for name, config in plan.arms.items()},
        "design": plan.study.design.kind,
        "factors": plan.study.design.factors or None,
        "arm_levels": {a: dict(at) for a, at in plan.study.design.levels.items() if a in plan.arms} or None,
        "search_space": None,
        "objectives": None,
        "winners": None,
        "seeds": seeds,
        "metric": plan.study.metric,
        "direction": METRICS[plan.study.metric].direction,
        **({"constraints": dict(plan.study.constraints)} if plan.study.constraints else {}),
        "selection": _selection(plan),
        "scale": options.scale,
        **declared,
        "published": dataclasses.asdict(plan.study.published) if plan.study.published else None,
        "command": options.command,
        "asked": asked_for(plan, declared),
        "git": git_state(options.script),
        "versions": _versions(plan),
        "hardware": hardware(),
        "data": plan.about_data,
        "auto_augment": without_auto("auto", plan.context.flip, max(plan.context.images["train"].shape[2:])),
        "class_names": list(plan.context.class_names),
        "class_counts": plan.context.class_counts,
        "teacher": {
            "model": plan.teacher.model_name,
            **{name: getattr(plan.teacher, name) for name in ("width", "epochs")},
            "config": requested(plan.teacher),
            "per_seed": options.teacher_per_seed,
            "source": source(plan),
            "params": plan.feasibility.teacher_params,
            "macs": plan.feasibility.teacher_macs,
            **plan.about_teacher,
            **_teachers(plan),
            **_teachers_of_arms(plan),
            "test_acc": {},
        },
        "plan": [{"arm": c.arm, "seed": c.seed, "trial_id": c.trial_id} for c in plan.trials],
        "looks": looks,
        **_declaration(plan, earlier),
        **({} if wants_pictures(plan, earlier) else {"pictures": False}),
        "merged": earlier.get("merged"),  # the runs whose stores `scl merge` has joined
        "started": now().isoformat(),
        "slots": plan.slots,
        "cpus_per_trial": options.cpus_per_trial,
        "device": plan.context.device,
        "plan_id": sha256([c.trial_id for c in plan.trials]),
    }


def _declaration(plan: Plan, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What `--declare` wrote. A store keeps it."""
    kept = earlier.get("declaration")
    if not kept and (found := read_declaration(plan.context.store, {})) and found.intact:
        kept = found.whole  # study.json was lost
    return {"declaration": kept} if kept else {}


def asked_for(plan: Plan, declared: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, with the defaults that another machine or a later version may take otherwise: `script`, the
    study's file, with its folders if the commit has it (`in_git`), "" for a study in Python; `options` as
    `scl.study.spelled` writes them; `lacking`, those that no flag can give; `by`, what was called.

    Without device and threads: those of the run that trained stand in the record.

    declared: as `declarations` returns them; the store keeps these over runs.
    """
    options = replace(plan.options, device="auto", cpus_per_trial=1)
    here = script_in_git(options.script)
    own_part = plan.about_data["val_share"] == 0 and options.val_share > 0  # data that come with a validation part
    explicit = replace(
        options,
        seeds=None if options.seed_list else options.seeds or plan.study.seeds,
        val=options.val if own_part else options.val_share,
        margin=declared["margin"],
        looks=tuple(declared["planned_looks"] or ()) or None,
    )
    found, lacking = spelled(explicit)
    found = {name: [name_of(text) for text in texts] for name, texts in found.items()}
    always = ("data", "split_seed")
    return {
        "by": "flags" if options.script else "scl.run",
        "script": name_of(here or Path(options.script).name),
        "in_git": bool(here),
        "options": found | {n: [name_of(str(getattr(explicit, n)))] for n in always if n not in found},
        "lacking": lacking,
    }


def _teachers(plan: Plan) -> dict[str, Any]:
    """The ids of the teachers, by the teacher's seed, or of `all`. With several for more seeds, also their number, and
    the teacher's seed of each student's seed."""
    options, by_seed = plan.options, plan.teacher_ids
    if options.teacher_file or not (options.teacher_per_seed or options.teachers):
        return {"ids": {"all": next(iter(by_seed.values()))}}
    ids = {str(options.teacher_seed(seed)): i for seed, i in by_seed.items()}
    if options.teacher_per_seed:
        return {"ids": ids}
    return {
        "ids": ids,
        "teachers": options.teachers,
        "of_seed": {str(seed): options.teacher_seed(seed) for seed in by_seed},
    }


def _teachers_of_arms(plan: Plan) -> dict[str, Any]:
    """The teachers of arms that name theirs: `by`, the names; `id`, of the trained ones together; `members`, of each.
    An arm has an entry for each seed of a teacher."""
    jobs = plan.context.jobs
    entries = {
        (trial.arm, trial.teacher_id): {
            "arm": trial.arm,
            "by": list(trial.config.taught_by),
            "id": trial.teacher_id,
            "members": list(jobs[trial.teacher_id].members or (trial.teacher_id,)),
        }
        for trial in plan.trials
        if trial.config.taught_by
    }
    return {"of_arms": list(entries.values())} if entries else {}


def wants_pictures(plan: Plan, earlier: Mapping[str, Any]) -> bool:
    """Whether the store may hold pictures of test images: once it may not, it never may."""
    return not plan.options.no_pictures and earlier.get("pictures") is not False


def earlier_record(plan: Plan) -> dict[str, Any]:
    """The present content of study.json; empty if there is none that can be read."""
    try:
        return read_study(plan.context.store)
    except UserError:
        return {}


def of_training(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that describe its training; empty if that run did not end."""
    return {name: record[name] for name in OF_TRAINING if name in record} if "ended" in record else {}


def source(plan: Plan) -> str:
    """Where the teacher's weights come from."""
    if plan.options.teacher_file:
        return "file, fine-tuned here" if plan.options.teacher_finetune else "file"
    return plan.teacher.model_name.partition(":")[0] if plan.teacher.pretrained else "trained here"


def _versions(plan: Plan) -> dict[str, str | None]:
    """Versions of Python and of the packages on which numbers may depend."""
    search = plan.study.search
    configs = [*plan.arms.values(), *([plan.template] if search else [])]
    fused = any(config.kernels == "fused" for config in configs) or (search and "kernels" in ranges(search.space))
    # Triton compiles the fused kernels, and its versions may round a product and a sum once or twice.
    packages = (*PACKAGES, "triton") if fused else PACKAGES
    return {"python": platform.python_version(), **{package: _version(package) for package in packages}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(script: str) -> dict[str, Any] | None:
    """Commit of the checkout that holds the study's file (else the present folder), and whether code differs from it:
    a tracked file that was changed, or a Python file that git does not know."""
    where = _folder_of(script)
    try:
        changed = _git(where, "status", "--porcelain", "-uno")
        changed = changed or _git(where, "ls-files", "--others", "--exclude-standard", ":/*.py")
        return {"commit": _git(where, "rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def script_in_git(script: str) -> str:
    """The path of a study's file in the checkout that has it in its commit; "" if none has."""
    if not script:
        return ""
    try:
        return _git(_folder_of(script), "ls-files", "--full-name", "--error-unmatch", Path(script).name)
    except (OSError, subprocess.CalledProcessError):
        return ""


def _folder_of(script: str) -> Path:
    return Path(script).resolve().parent if script else Path.cwd()


def _git(where: Path, *arguments: str) -> str:
    # Without optional locks: `git status` would take .git/index.lock to store what it found.
    done = subprocess.run(["git", "--no-optional-locks", *arguments], cwd=where, capture_output=True, check=True)
    return done.stdout.decode(errors="replace").strip()


def hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cpu, memory = f"{platform.machine()} {platform.processor()}".strip(), physical_memory()
    memory_gb = None if memory is None else round(memory / 2**30, 1)
    return {"cpu": cpu, "cores": cores(), "memory_gb": memory_gb, "gpus": gpus}

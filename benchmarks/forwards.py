"""The teacher's share of a study, for `study.py`: its cohorts, and the seconds of the teacher's forwards.

Prints JSON: the cohorts that a command of `ablation.py` makes, and the seconds of all forwards with one thread, if each
trial trains alone (`teacher_alone`) and in these cohorts (`teacher_shared`). Its flags are those of `ablation.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import json
from functools import cache, reduce
from operator import or_

import torch

from benchmarks.step import read_of_teacher, seconds_of_forward
from scl.cli.flags import parsed
from scl.data.batches import training_batches
from scl.models.networks import build_student, move_to_device
from scl.models.staged import Wanted
from scl.plan.packing import plan_cohorts
from scl.plan.plan import make_plan
from scl.store.files import open_folder
from scl.study.settled import settled
from scl.train.teacher import TeacherForward
from studies.ablation import STUDY

FORWARDS = 30  # timed of each kind


def main() -> None:
    study, options = settled(STUDY, parsed(STUDY, "ablation.py", sys.argv[1:]))
    plan = make_plan(study, options, open_folder(options.out))
    torch.set_num_threads(1)
    data, config = plan.feasibility.tensors, plan.trials[0].config
    device = torch.device("cpu")
    network = move_to_device(build_student(plan.teacher, data, 0), data, device).eval().requires_grad_(False)
    wanted_by = {trial.trial_id: read_of_teacher(trial.config, data, network) for trial in plan.trials}
    forward = TeacherForward(network, config.tap, bf16=False)
    batches = training_batches(
        data.train, batch_size=config.batch_size, seed=0, epoch=1, augment="crop", mean=data.mean, std=data.std
    )
    images = [batch for batch, _ in batches]
    steps = len(images) * config.total_epochs

    @cache
    def seconds(wanted: Wanted) -> float:
        return steps * seconds_of_forward(images, forward, wanted, FORWARDS)

    cohorts = [[trial.trial_id for trial in cohort] for cohort in plan_cohorts(plan, plan.trials)]
    found = {
        "cohorts": cohorts,
        "teacher_alone": sum(map(seconds, wanted_by.values())),
        "teacher_shared": sum(seconds(reduce(or_, [wanted_by[i] for i in cohort])) for cohort in cohorts),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

#!/bin/bash
# Runs a study as a Slurm array, one seed a task, without Ray:
#   sbatch --array=0-9 deploy/slurm-array.sh studies/ablation.py --data /shared/cifar100
#   scl merge results/array/[0-9]* --out results    # when all tasks have ended
# Submit it again, and each task continues. Slurm sends SIGTERM five minutes before the time limit.
#SBATCH --job-name=scl
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

parts=${SCL_PARTS:-results/array}
out=$parts/$SLURM_ARRAY_TASK_ID
mkdir -p "$parts/teachers" "$out"
ln -sfn ../teachers "$out/teachers" # one teacher for all: a task trains it, the others wait
exec python "$@" --inline --seed-list "$SLURM_ARRAY_TASK_ID" --out "$out"

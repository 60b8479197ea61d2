#!/bin/bash
# Runs a study on a Slurm allocation: sbatch deploy/slurm.sh studies/ablation.py --data /shared/cifar100 --out /shared/results
# Submit it again, and it continues. Slurm sends SIGTERM five minutes before the time limit; the study then stops cleanly.
#SBATCH --job-name=scl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000)) # several jobs may share a node
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n') # for this job only

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap ray start --head --block --node-ip-address="$address" \
  --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false ${SCL_RAY_FLAGS:-} &
sleep 15
for node in "${nodes[@]:1}"; do
  srun --nodes=1 --ntasks=1 --nodelist="$node" --overlap ray start --block --address="$address:$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" &
done
sleep 10

python "$@" --address "$address:$port" &
study=$!
trap 'kill -TERM "$study"' TERM
code=0
wait "$study" || code=$?
while kill -0 "$study" 2>/dev/null; do # `wait` ends when the signal arrives, the study a little later
  code=0
  wait "$study" || code=$?
done
kill $(jobs -p) 2>/dev/null || true
wait
exit "$code"

#!/bin/bash
# Runs a study on a Slurm allocation: sbatch deploy/slurm.sh studies/ablation.py --data /shared/cifar100 --out /shared/results
# Slurm sends SIGTERM five minutes before the time limit. The study then stops cleanly, and the job goes back into the
# queue: finished trials are kept, and the others continue. SCL_RESTARTS limits how often (default: 20).
#SBATCH --job-name=scl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

asked="" # the signal that asked this job to stop
trap 'asked=TERM' TERM
trap 'asked=USR1' USR1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000)) # several jobs may share a node
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n') # for this job only
read -ra head_flags <<< "${SCL_RAY_FLAGS:-}"

started=() # Ray's steps
study=""
end() {
  for step in "${started[@]}"; do kill "$step" 2> /dev/null || true; done
  wait
  exit "$1"
}

# Waits until a command succeeds; the job ends if Ray's first step has ended, or after five minutes.
until_ready() {
  local what=$1 deadline=$((SECONDS + ${SCL_PATIENCE:-300}))
  shift
  until "$@" > /dev/null 2>&1; do
    if [[ -n $asked ]]; then end 130; fi
    if ! kill -0 "${started[0]}" 2> /dev/null || ((SECONDS > deadline)); then
      echo "$what does not answer; its output is above" >&2
      end 1
    fi
    sleep 1
  done
}

# shellcheck disable=SC2329 # until_ready calls it
nodes_alive() {
  RAY_ADDRESS=$address:$port python -c '
import sys, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]))' "${#nodes[@]}"
}

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap ray start --head --block --node-ip-address="$address" \
  --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false "${head_flags[@]}" &
started+=($!)
until_ready "Ray's head at $address:$port" timeout 5 bash -c "exec 3<> /dev/tcp/$address/$port"
for node in "${nodes[@]:1}"; do
  srun --nodes=1 --ntasks=1 --nodelist="$node" --overlap ray start --block --address="$address:$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" &
  started+=($!)
done
until_ready "Ray on all of ${nodes[*]}" nodes_alive

python "$@" --address "$address:$port" &
study=$!
passed=""
code=0
while kill -0 "$study" 2> /dev/null; do # `wait` ends when a signal arrives, the study a little later
  if [[ -n $asked && -z $passed ]]; then
    passed=$asked
    kill -TERM "$study" 2> /dev/null || true
  fi
  code=0
  wait "$study" || code=$?
done
# 130: interrupted. Anything else has ended by itself, and would end so again.
if [[ -n $asked && $code == 130 ]]; then
  if ((${SLURM_RESTART_COUNT:-0} < ${SCL_RESTARTS:-20})); then
    echo "stopped by $asked: the job goes back into the queue and continues there" >&2
    scontrol requeue "$SLURM_JOB_ID" || echo "it could not be requeued; submit it again, and it continues" >&2
  else
    echo "stopped by $asked after ${SLURM_RESTART_COUNT} restarts; submit it again, and it continues" >&2
  fi
fi
end "$code"

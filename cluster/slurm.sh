#!/bin/bash
# Run one command on a Ray cluster inside a SLURM allocation. The cluster ends with the command. Submit it as
#   sbatch cluster/slurm.sh pipeline /shared/pipeline.toml
# If the allocation runs out of time, submit it again. The command goes on, because its outputs are on shared storage.
#SBATCH --job-name=s2m
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --output=s2m-%j.log
set -euo pipefail

if [ "$#" -eq 0 ]; then
  echo "usage: sbatch cluster/slurm.sh COMMAND ..., such as embed /shared/m.parquet --out /shared/store" >&2
  exit 2
fi
: "${SLURM_JOB_ID:?is not set; submit this script with sbatch}"

# The token is for this allocation alone. It lies in the user's home directory, which the nodes share.
umask 077
RAY_AUTH_TOKEN_PATH="$HOME/.s2m-token-$SLURM_JOB_ID"
export RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
python3 -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

# The first node is the head. No `| head -n 1`: it would end `scontrol`, and under pipefail this script, with code 141.
node_names=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_name=${node_names%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 20000)) # other allocations may run a Ray on the same machine
export RAY_ADDRESS="$head_name:$port"

srun --nodes=1 --ntasks=1 --nodelist="$head_name" \
  ray start --head --block --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false &
sleep 10
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head_name" \
    ray start --block --address="$RAY_ADDRESS" --num-cpus="$SLURM_CPUS_PER_TASK" &
fi

# Pass SLURM's signal on to the command, which then writes what it has done and ends with 75.
s2m "$@" --address "$RAY_ADDRESS" &
command=$!
trap 'kill -TERM "$command"' TERM
wait "$command" || code=$?
if kill -0 "$command" 2>/dev/null; then # the signal ended the waiting, not the command
  wait "$command" || code=$?
fi
exit "${code:-0}"

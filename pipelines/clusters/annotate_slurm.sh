#!/usr/bin/env bash
# Labels of a language model, on Slurm: a server on each node, the pipeline beside the first of them.
#
#   MODEL=meta-llama/Llama-3.1-70B-Instruct SAMPLE=400000 WORK=/shared/work sbatch --nodes=4 annotate_slurm.sh
#   MODEL=... SAMPLE=... WORK=... sbatch annotate_slurm.sh --dry-run --price-hour 20    # what would it cost?
#
# What stands after the script's name goes to `biomed-builder annotate`. Every answer is kept in $WORK: submit the same
# command again, and it goes on where it stopped.
#
#SBATCH --job-name=biomed-annotate
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
# two minutes before the end of the time, to this script only: the servers go on until the pipeline has stopped
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

MODEL=${MODEL:-meta-llama/Llama-3.1-70B-Instruct}
REVISION=${REVISION:-}                   # of the model: a commit, so that the labels can be made again
SAMPLE=${SAMPLE:-400000}                 # paragraphs
BUDGET=${BUDGET:-}                       # tokens, a hard limit; empty: none
WORK=${WORK:-work}                       # on a disk that all nodes see; holds paragraphs/, which ingest made
PARAGRAPHS=${PARAGRAPHS:-$WORK/paragraphs}
OUTPUT=${OUTPUT:-$WORK/annotations}
SERVER=${SERVER:-vllm}                   # vllm, or tgi (by apptainer)
TGI_IMAGE=${TGI_IMAGE:-docker://ghcr.io/huggingface/text-generation-inference:3.3.5}
# GPUs that hold the model once; what a node has more of them, vLLM fills with further copies
TENSOR_PARALLEL=${TENSOR_PARALLEL:-${SLURM_GPUS_ON_NODE:-1}}
SERVER_OPTIONS=${SERVER_OPTIONS:-}       # further options of the server, split at spaces; for vllm --max-model-len 8192
# another server: a line for bash, run on each node with PORT, MODEL, REVISION and TENSOR_PARALLEL in its environment
SERVER_COMMAND=${SERVER_COMMAND:-}
# not the same port for all jobs: on a shared node the pipeline would find the server of another one
PORT=${PORT:-$((20000 + ${SLURM_JOB_ID:-0} % 10000))}
START_SECONDS=${START_SECONDS:-3600}     # for the servers to load the model; the first time they also fetch it
RESTARTS=${RESTARTS:-3}                  # of servers that end while the pipeline runs, all together
REQUEUES=${REQUEUES:-3}                  # how often the job puts itself back into the queue when its time is over
BUILDER=${BUILDER:-biomed-builder}       # the command; a path where its environment is not active
LOGS=${LOGS:-$WORK/server-logs}

fail() {
  echo "annotate_slurm: $*" >&2
  exit 1
}

[[ -n ${SLURM_JOB_ID:-} ]] || fail "not in a job; submit it: sbatch $0"
[[ $SERVER == vllm || $SERVER == tgi ]] || fail "SERVER is '$SERVER'; vllm or tgi, or give SERVER_COMMAND"
[[ -e $PARAGRAPHS/_build/manifest.json ]] || fail "$PARAGRAPHS is no folder that ingest made; see WORK and PARAGRAPHS"
command -v "$BUILDER" >/dev/null || fail "no command $BUILDER; activate its environment or give BUILDER=/path/to/biomed-builder"
mkdir -p "$LOGS"

# The servers listen on the network of the cluster, where others are: only those with the key may ask. It is in no
# command line, where `ps` would show it. vLLM, TGI and the pipeline each read it under a name of their own.
BIOMED_API_KEY=${BIOMED_API_KEY:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
export BIOMED_API_KEY VLLM_API_KEY=$BIOMED_API_KEY API_KEY=$BIOMED_API_KEY
export MODEL PORT TENSOR_PARALLEL
# TGI reads this name itself and takes an empty one for a revision
if [[ -n $REVISION ]]; then export REVISION; else export -n REVISION; fi

read -ra options <<<"$SERVER_OPTIONS"
if [[ -n $SERVER_COMMAND ]]; then
  server=(bash -c "$SERVER_COMMAND")
elif [[ $SERVER == tgi ]]; then
  server=(apptainer run --nv "$TGI_IMAGE" --model-id "$MODEL" --num-shard "$TENSOR_PARALLEL" --hostname 0.0.0.0 --port "$PORT")
else
  server=(vllm serve "$MODEL" --host 0.0.0.0 --port "$PORT" --tensor-parallel-size "$TENSOR_PARALLEL")
  copies=$((${SLURM_GPUS_ON_NODE:-1} / TENSOR_PARALLEL))
  if ((copies > 1)); then server+=(--data-parallel-size "$copies"); fi
fi
if [[ -z $SERVER_COMMAND ]]; then
  if [[ -n $REVISION ]]; then server+=(--revision "$REVISION"); fi
  server+=("${options[@]}")
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
urls=() endpoints=() servers=()
pipeline=""

# the address by which Slurm itself reaches a node; its name need not be known to others
address_of() { scontrol --oneliner show node "$1" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p'; }

start_server() {
  # without --exact the step has all cores and GPUs of its node; --overlap: also where another step has them already
  srun --overlap --nodes=1 --ntasks=1 --nodelist="${nodes[$1]}" --cpu-bind=none --export=ALL --job-name="server-${nodes[$1]}" \
    --open-mode=append --output="$LOGS/${nodes[$1]}.log" "${server[@]}" </dev/null 2>>"$LOGS/${nodes[$1]}.log" &
  servers[$1]=$!
}

is_healthy() { curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "$1/health"; }

# in the background, since bash looks at signals only between commands and while it waits
pause() {
  sleep "$1" &
  wait $!
}

# shellcheck disable=SC2317,SC2329  # called by a trap
stop() {
  trap '' TERM
  # the pipeline first, or it would see servers that go away
  if [[ -n $pipeline ]]; then
    kill -TERM "$pipeline" 2>/dev/null || true
    wait "$pipeline" 2>/dev/null || true
  fi
  if ((${#servers[@]})); then
    kill -TERM "${servers[@]}" 2>/dev/null || true
    wait "${servers[@]}" 2>/dev/null || true
  fi
}

# shellcheck disable=SC2317,SC2329  # called by a trap
at_end_of_time() {
  echo "annotate_slurm: told to stop; answers so far are in $OUTPUT"
  trap - EXIT
  stop
  # scancel sends this signal too, but then the job runs no more, and must not come back
  if [[ $(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) == RUNNING ]] && ((${SLURM_RESTART_COUNT:-0} < REQUEUES)); then
    echo "annotate_slurm: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit 143
}

trap stop EXIT
trap at_end_of_time TERM

for i in "${!nodes[@]}"; do
  address=$(address_of "${nodes[$i]}")
  urls[i]=http://${address:-${nodes[$i]}}:$PORT
  endpoints+=(--endpoint "${urls[$i]}")
  if is_healthy "${urls[$i]}"; then fail "another server answers at ${urls[$i]} already; give a free PORT"; fi
  start_server "$i"
done
for i in "${!nodes[@]}"; do
  until is_healthy "${urls[$i]}"; do
    kill -0 "${servers[$i]}" 2>/dev/null || fail "the server on ${nodes[$i]} ended before it was ready; see $LOGS/${nodes[$i]}.log"
    ((SECONDS < START_SECONDS)) || fail "the server on ${nodes[$i]} is not ready after $START_SECONDS s; see $LOGS/${nodes[$i]}.log"
    pause 2
  done
  echo "annotate_slurm: ${nodes[$i]} is ready at ${urls[$i]} after $SECONDS s"
done

arguments=("$PARAGRAPHS" --work "$WORK" --output "$OUTPUT" --model "$MODEL" --sample "$SAMPLE" "${endpoints[@]}")
if [[ -n $REVISION ]]; then arguments+=(--revision "$REVISION"); fi
if [[ -n $BUDGET ]]; then arguments+=(--budget "$BUDGET"); fi
"$BUILDER" annotate "${arguments[@]}" "$@" </dev/null &
pipeline=$!

# the pipeline waits for a server that is gone (--patience), so one that ended is started again
while kill -0 "$pipeline" 2>/dev/null; do
  for i in "${!nodes[@]}"; do
    if ((RESTARTS > 0)) && ! kill -0 "${servers[$i]}" 2>/dev/null; then
      RESTARTS=$((RESTARTS - 1))
      echo "annotate_slurm: the server on ${nodes[$i]} ended; started again ($RESTARTS more times)"
      start_server "$i"
    fi
  done
  pause 2
done
code=0
wait "$pipeline" || code=$?
pipeline=""
exit "$code"

#!/usr/bin/env bash
# Labels of a language model, on HF Jobs: one machine with GPUs, the server and the pipeline on it.
#
#   BUCKET=my-org/biomed MODEL=meta-llama/Llama-3.1-70B-Instruct SAMPLE=400000 pipelines/clusters/annotate_hf_jobs.sh
#   DRY_RUN=1 BUCKET=... pipelines/clusters/annotate_hf_jobs.sh                    # print the job, send nothing
#   BUCKET=... pipelines/clusters/annotate_hf_jobs.sh --dry-run --price-hour 10    # a small job that says what all would cost
#
# What stands after the script's name goes to `biomed-builder annotate`. The bucket holds paragraphs/, which ingest made
# (hf buckets sync work/paragraphs hf://buckets/my-org/biomed/paragraphs), and gets sample/ and annotations/. Answers are
# copied there every minute: submit the same command again, and it goes on where it stopped.
set -euo pipefail

BUCKET=${BUCKET:?give the bucket for the work folder, such as BUCKET=my-org/biomed}
MODEL=${MODEL:-meta-llama/Llama-3.1-70B-Instruct}
REVISION=${REVISION:-}                   # of the model: a commit, so that the labels can be made again
SAMPLE=${SAMPLE:-400000}                 # paragraphs
BUDGET=${BUDGET:-}                       # tokens, a hard limit; empty: none
FLAVOR=${FLAVOR:-h200x2}                 # `hf jobs hardware` lists them with their prices
TIMEOUT=${TIMEOUT:-24h}
ATTEMPTS=${ATTEMPTS:-3}                  # if the job fails
SERVER=${SERVER:-vllm}                   # vllm or tgi
IMAGE=${IMAGE:-}                         # empty: that of the server
SERVER_OPTIONS=${SERVER_OPTIONS:-}       # further options of the server, split at spaces; for vllm --max-model-len 8192
# another server: a line for bash, run with PORT, MODEL, REVISION and GPUS in its environment
SERVER_COMMAND=${SERVER_COMMAND:-}
TENSOR_PARALLEL=${TENSOR_PARALLEL:-}     # GPUs that hold the model once; empty: all
PORT=${PORT:-8000}
START_SECONDS=${START_SECONDS:-3600}     # for the server to fetch and load the model
SAVE_SECONDS=${SAVE_SECONDS:-60}         # what a machine that dies may lose
PACKAGE=${PACKAGE:-biomed-enriched-builder}   # what pip installs: a name, an address, or a wheel in the bucket (/bucket/….whl)
BUILDER=${BUILDER:-}                     # a command that is in the image already; then nothing is installed
MOUNT=${MOUNT:-/bucket}                  # where the job finds the bucket
HF=${HF:-hf}

case $SERVER in
  vllm) IMAGE=${IMAGE:-vllm/vllm-openai:v0.23.0} ;;
  tgi) IMAGE=${IMAGE:-ghcr.io/huggingface/text-generation-inference:3.3.5} ;;
  *)
    echo "annotate_hf_jobs: SERVER is '$SERVER'; vllm or tgi, or give SERVER_COMMAND and IMAGE" >&2
    exit 1
    ;;
esac

# What runs in the container. Its settings come by the environment, its arguments go to annotate.
read -r -d '' inside <<'INSIDE' || true
set -euo pipefail
# Work is done on the disk of the machine and copied: in a mounted bucket nothing can be added to a file, a file is there
# only when it was closed, and there are no locks, so that answers written there would be lost with the machine.
scratch=${SCRATCH:-/tmp/annotate}
work=$scratch/work
server="" pipeline=""
fail() { echo "annotate: $*" >&2; exit 1; }
# in the background, since bash looks at signals only between commands and while it waits
pause() { sleep "$1" & wait $!; }
is_healthy() { curl --silent --fail --noproxy "*" --max-time 5 --output /dev/null "http://127.0.0.1:$PORT/health"; }
save() {
  touch -d "2 seconds ago" "$scratch/now"
  (cd "$work" && find . -type f -newer "$scratch/saved" ! -name ".*" ! -name "*.part-*" -print0) |
    while IFS= read -r -d "" file; do
      # a file can be gone again; the next look finds what has taken its place
      { mkdir -p "$MOUNT/${file%/*}" && cp "$work/$file" "$MOUNT/$file"; } || echo "annotate: $file was not copied" >&2
    done
  mv "$scratch/now" "$scratch/saved"
}
stop() {
  trap "" TERM
  for process in $pipeline $server; do
    kill -TERM "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  save
}
[[ -e $MOUNT/paragraphs/_build/manifest.json ]] || fail "the bucket has no paragraphs/ that ingest made"
mkdir -p "$work"
for folder in sample annotations; do
  if [[ -d $MOUNT/$folder ]]; then cp -r "$MOUNT/$folder" "$work/"; fi
done
touch "$scratch/saved"
trap stop EXIT
trap "exit 143" TERM

GPUS=${GPUS:-$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)}
TENSOR_PARALLEL=${TENSOR_PARALLEL:-$GPUS}
export GPUS TENSOR_PARALLEL
# TGI reads this name itself and takes an empty one for a revision
if [[ -z $REVISION ]]; then export -n REVISION; fi
read -ra options <<<"$SERVER_OPTIONS"
if [[ -n $SERVER_COMMAND ]]; then
  command=(bash -c "$SERVER_COMMAND")
elif [[ $SERVER == tgi ]]; then
  command=(text-generation-launcher --model-id "$MODEL" --num-shard "$TENSOR_PARALLEL" --hostname 127.0.0.1 --port "$PORT")
else
  ((GPUS > 0)) || fail "nvidia-smi finds no GPU here; see FLAVOR"
  command=(vllm serve "$MODEL" --host 127.0.0.1 --port "$PORT" --tensor-parallel-size "$TENSOR_PARALLEL")
  if ((GPUS / TENSOR_PARALLEL > 1)); then command+=(--data-parallel-size $((GPUS / TENSOR_PARALLEL))); fi
fi
if [[ -z $SERVER_COMMAND ]]; then
  if [[ -n $REVISION ]]; then command+=(--revision "$REVISION"); fi
  command+=("${options[@]}")
fi
"${command[@]}" </dev/null &
server=$!
if [[ -z $BUILDER ]]; then
  # an environment of its own: what the builder needs must not replace what the server needs
  python3 -m venv --system-site-packages "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet --disable-pip-version-check "$PACKAGE"
  BUILDER=$scratch/venv/bin/biomed-builder
fi
until is_healthy; do
  kill -0 "$server" 2>/dev/null || fail "the server ended before it was ready"
  ((SECONDS < START_SECONDS)) || fail "the server is not ready after $START_SECONDS s"
  pause 2
done
echo "annotate: the server is ready after $SECONDS s"

arguments=("$MOUNT/paragraphs" --work "$work" --model "$MODEL" --sample "$SAMPLE" --endpoint "http://127.0.0.1:$PORT")
if [[ -n $REVISION ]]; then arguments+=(--revision "$REVISION"); fi
if [[ -n $BUDGET ]]; then arguments+=(--budget "$BUDGET"); fi
"$BUILDER" annotate "${arguments[@]}" "$@" </dev/null &
pipeline=$!
last=$SECONDS
while kill -0 "$pipeline" 2>/dev/null; do
  # a server that ended does not come back here; a new attempt of the job starts another
  kill -0 "$server" 2>/dev/null || fail "the server ended; answers so far are in the bucket"
  if ((SECONDS - last >= SAVE_SECONDS)); then
    save
    last=$SECONDS
  fi
  pause 2
done
code=0
wait "$pipeline" || code=$?
pipeline=""
exit "$code"
INSIDE

job=(
  jobs run --name biomed-annotate --flavor "$FLAVOR" --timeout "$TIMEOUT" --attempts "$ATTEMPTS" --detach
  --volume "hf://buckets/$BUCKET:$MOUNT:rw"
  --secrets HF_TOKEN # its value is read from the environment or the login, and is in no command line
)
for name in MODEL REVISION SAMPLE BUDGET SERVER SERVER_OPTIONS SERVER_COMMAND TENSOR_PARALLEL PORT START_SECONDS SAVE_SECONDS \
  PACKAGE BUILDER MOUNT; do
  job+=(--env "$name=${!name}")
done
if [[ -n ${DRY_RUN:-} && ${DRY_RUN:-} != 0 ]]; then job+=(--dry-run); fi
exec "$HF" "${job[@]}" "$IMAGE" bash -c "$inside" annotate "$@"

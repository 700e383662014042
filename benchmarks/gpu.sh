#!/usr/bin/env bash
# Twelve minutes of one GPU, filled with what only it can show:
#
#   benchmarks/gpu.sh --out benchmarks/results/gpu.json
#   benchmarks/gpu.sh --rehearse --out /tmp/gpu.json     # the same parts on a CPU with small shapes, some minutes
#
# Models come from configurations and data from a generator, so that no hub is needed. Every part has a time limit; a
# part that fails or takes longer is noted, and the next one begins. After each part --out is written anew. A part that
# succeeded is not run again by a later call with the same --work folder, until --fresh; tests of which none ran have not
# succeeded. PYTHON is the interpreter to use; parts that need vLLM are left out where it has none. The exit status is 1
# if a part that ran has failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
  echo "options: --out FILE  --work DIR (default runs/gpu)  --minutes N (default 12)  --only PART...  --rehearse  --fresh"
}

python=${PYTHON:-python}
out='' work='' minutes=12 rehearse='' fresh='' only=()
while (($#)); do
  case $1 in
    --out) out=$2; shift 2 ;;
    --work) work=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    --only) shift; while (($#)) && [[ $1 != --* ]]; do only+=("$1"); shift; done ;;
    --rehearse) rehearse=yes; shift ;;
    --fresh) fresh=yes; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
done
[[ -n $out ]] || { echo "--out FILE is needed" >&2; exit 2; }
work=${work:-runs/gpu${rehearse:+_rehearsal}}
[[ -z $fresh ]] || rm -rf "$work"
mkdir -p "$work" "$(dirname "$out")"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
deadline=$(($(date +%s) + 60 * minutes))
failed=0

# One file of everything so far: each part with its status, seconds, the end of its log, and its own JSON.
report() {
  "$python" - "$work" "$out" <<'PYTHON'
import json, pathlib, sys

work, out = map(pathlib.Path, sys.argv[1:])
parts = {}
for status in sorted(work.glob("*.status"), key=lambda f: f.stat().st_mtime):
    part = json.loads(status.read_text())
    log, result = status.with_suffix(".log"), status.with_suffix(".json")
    part["log"] = log.read_text(errors="replace")[-2000:] if log.is_file() else ""
    part["result"] = json.loads(result.read_text()) if result.is_file() else None
    parts[status.stem] = part
out.write_text(json.dumps({"benchmark": "gpu", "parts": parts}, indent=1) + "\n")
PYTHON
}

note() { # part, status, exit status, seconds, limit
  printf '{"status": "%s", "exit_status": %d, "seconds": %d, "limit": %d}\n' "${@:2}" >"$work/$1.status"
  printf '%-18s %s after %d s\n' "$1" "$2" "$4"
  report
}

# The last line of pytest: "3 skipped, 1 deselected in 0.05s" where nothing has passed.
all_skipped() { tail -n 1 "$1" | grep -Eq '^=*\s*[0-9]+ skipped' ; }

# part NAME SECONDS COMMAND...: run it unless it succeeded before, for so many seconds at most.
part() {
  local name=$1 limit=$2 began left code=0
  shift 2
  if ((${#only[@]})) && [[ " ${only[*]} " != *" $name "* ]]; then return; fi
  if [[ -f $work/$name.status ]] && grep -q '"done"' "$work/$name.status"; then
    echo "$name was done before"
    return
  fi
  left=$((deadline - $(date +%s)))
  if ((left < 10)); then
    note "$name" "no time left" 0 0 "$limit"
    return
  fi
  ((limit <= left)) || limit=$left
  began=$(date +%s)
  rm -f "$work/$name.json"
  timeout --kill-after=10 "$limit" "$@" >"$work/$name.log" 2>&1 || code=$?
  if ((code == 0)) && all_skipped "$work/$name.log"; then
    note "$name" "all skipped" 0 $(($(date +%s) - began)) "$limit"
    return
  fi
  case $code in
    0) note "$name" "done" 0 $(($(date +%s) - began)) "$limit" ;;
    124 | 137) note "$name" "out of time" $code $(($(date +%s) - began)) "$limit"; failed=1 ;;
    *) note "$name" failed $code $(($(date +%s) - began)) "$limit"; failed=1 ;;
  esac
}

bench() { # part, seconds, script, arguments
  part "$1" "$2" "$python" "benchmarks/$3.py" --out "$work/$1.json" "${@:4}"
}

has_vllm() { "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("vllm") is None)'; }

if [[ -n $rehearse ]]; then
  small=(--device cpu --threads 1 --model demo --data synthetic --repeats 1)
  part tests 120 "$python" -m pytest -rs -n0 tests/gpu
  bench flex_attention 120 flex_attention --device cpu --tokens 300 200 --heads 4 --kv-heads 2 --head-dim 16 --repeats 1
  for size in 0.6b 1.7b; do
    bench "rm_training_$size" 240 rm_training "${small[@]}" --peers tuned --steps 3 --warmup 1 \
      --pairs-per-step 2 --max-length 200
    bench "rl_step_$size" 240 rl_step "${small[@]}" --prompts 2 --samples 2 --prompt-tokens 40 \
      --completion-tokens 8 --mean-completion 4 --endings ragged --steps 1
  done
  bench serving 120 serving "${small[@]}" --prompts 1 --clients 4 --shapes chat
  exit $failed
fi

large=(--device cuda --dtype bf16 --data synthetic)
part tests 80 "$python" -m pytest -rs -n0 -m gpu tests/gpu --ignore tests/gpu/test_vllm.py
bench flex_attention 60 flex_attention --device cuda --dtype bf16
bench rm_training_0.6b 90 rm_training "${large[@]}" --model qwen3-0.6b --peers tuned --repeats 1 --steps 8 \
  --pairs-per-step 32 --max-length 2048 --max-tokens 32768
bench rl_step_0.6b 90 rl_step "${large[@]}" --model qwen3-0.6b --repeats 1 --prompts 8 --prompt-tokens 512 \
  --completion-tokens 256 --mean-completion 96 --endings ragged --steps 2
if has_vllm; then
  bench serving 120 serving "${large[@]}" --peer vllm --model qwen3-0.6b --repeats 2 --prompts 8
  # NCCL needs two GPUs: one of the trainer, one of the server. Over the TCP store one is enough.
  part weight_transfer 100 "$python" -m pytest -rs -n0 -m gpu tests/gpu/test_vllm.py
else
  bench serving 60 serving "${large[@]}" --model qwen3-0.6b --repeats 2 --prompts 8
fi
bench rm_training_1.7b 100 rm_training "${large[@]}" --model qwen3-1.7b --peers tuned --repeats 1 --steps 6 \
  --pairs-per-step 32 --max-length 2048 --max-tokens 32768
bench rl_step_1.7b 80 rl_step "${large[@]}" --model qwen3-1.7b --repeats 1 --prompts 8 --prompt-tokens 512 \
  --completion-tokens 256 --mean-completion 96 --endings ragged --steps 2
exit $failed

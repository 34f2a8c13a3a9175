#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests and measurements that need a GPU.
set -euo pipefail

usage() {
  cat <<'TEXT'
tests/gpu.sh [--device cuda|emulated] [--quick] [--part tests|jobs|table]
    builds where this is a checkout, runs every test that uses a GPU (a GPU must be there), a job on 1, 2 and 4 ranks
    that share GPU 0 and one that does not, and prints the benchmark table; about 8 minutes on one GPU.
    --quick      the table of tiny shapes: shows that all works
    --part NAME  this alone
    --device emulated   the same on the emulated GPU of the CPU's build, always quick
tests/gpu.sh --bundle DIR [--device ...]
    builds and makes DIR, which holds what the above needs for a machine with a driver and nothing else: run DIR/gpu.sh
    there. SELVAGE_BUNDLE_CUDA=1 takes CUDA's libraries along (about 1 GiB); without, they must be there, in CUDA_HOME
    or as packages of Python.
Where Python has PyTorch and transformers, the same models there are measured beside.
TEXT
}

bad_option() {
  echo "gpu.sh: $1; --help lists the options" >&2
  exit 64
}

device=cuda quick=0 bundle= part=all
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --quick) quick=1 ;;
    --device | --bundle | --part)
      [ $# -gt 1 ] && [ -n "$2" ] || bad_option "$1 needs a value"
      declare "${1#--}=$2"
      shift ;;
    *) bad_option "\"$1\" is not an option" ;;
  esac
  shift
done
case $device in
  cuda) preset=cuda ;;
  emulated) preset=cpu quick=1 ;;
  *) bad_option "--device is $device; give cuda or emulated" ;;
esac
case $part in
  all | tests | jobs | table) ;;
  *) bad_option "--part is $part; give tests, jobs or table" ;;
esac
wanted() { [ "$part" = all ] || [ "$part" = "$1" ]; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -x "$here/with" ]; then  # a bundle
  programs=$here/bin peers=$here/peers list=$here/gpu_tests.list
  [ -z "$bundle" ] || bad_option "--bundle needs a checkout"
  run=("$here/with")
else
  cd "$here/.."
  source jobs/setup.sh
  selvage_install
  [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >/dev/null
  list=build/$preset/tests/gpu_tests.list peers=tests/bench/peers run=()
  tests=$(cut -d' ' -f1 "$list")
  selvage_build "$preset" selvage selvage_bench $(basename -a $tests) >"build/$preset/gpu_build.log" ||
    { tail -50 "build/$preset/gpu_build.log" >&2; exit 1; }
  if [ -n "$bundle" ]; then
    tests/support/bundle.sh "$bundle" "build/$preset/selvage" "build/$preset/tests/bench/selvage_bench" $tests
    mkdir -p "$bundle/peers"
    cp tests/bench/peers/*.py "$bundle/peers/"
    cp tests/gpu.sh "$bundle/"
    sed 's|^.*/\([^/ ]* \)|\1|' "$list" >"$bundle/gpu_tests.list"
    du -sh "$bundle"
    exit
  fi
  programs=$work/bin  # as in a bundle
  mkdir "$programs"
  ln -s "$PWD/build/$preset/selvage" "$PWD/build/$preset/tests/bench/selvage_bench" $(realpath $tests) "$programs/"
fi

with() { ${run[@]+"${run[@]}"} "$@"; }
failed=()
start=$SECONDS
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
[ "$device" = emulated ] || export SELVAGE_REQUIRE_GPU=1

run_tests() {
  echo "== tests on the device"
  while read -r program ranks; do
    program=$(basename "$program")
    for n in $ranks; do
      begin=$SECONDS
      if with mpirun -n "$n" "$programs/$program" --gtest_color=no </dev/null >"$work/log" 2>&1; then
        result="passed ($(grep -o '[0-9]* tests\?\.$' "$work/log" | head -1 | tr -d .))"
      else
        result=FAILED
        failed+=("$program on $n ranks")
        tail -60 "$work/log"
      fi
      printf '  %-24s %s ranks  %-24s %4d s\n' "$program" "$n" "$result" $((SECONDS - begin))
    done
  done <"$list"
}

run_jobs() {
  echo "== whole jobs"
  export SELVAGE_DEVICE=$device
  selvage() { with "$programs/selvage" "$@"; }
  for ((i = 0; i < 64; ++i)); do
    printf '{"prompt": "%d and %d make", "response": " %d ok"}\n' $((i * 7 % 23)) $((i * 5 % 17)) $((i * 7 % 23 + i * 5 % 17))
  done >"$work/pairs.jsonl"
  selvage prepare --input "$work/pairs.jsonl" --output "$work/pairs.h5" --tokenizer bytes >/dev/null
  cat >"$work/deck.toml" <<'TEXT'
[run]
rounds = 2
[model]
layers = 2
hidden = 64
heads = 4
kv_heads = 2
head_size = 16
ffn = 96
[data]
train = "pairs.h5"
heldout = "pairs.h5"
context = 64
[precision]
compute = "bf16"
[generate]
max_new_tokens = 6
cache_mib = 16
[weave]
method = ["bash", "rac"]
[train]
lanes = 4
steps_per_round = 2
batch_tokens = 256
micro_batch_tokens = 128
warmup_steps = 1
[evaluate]
examples = 2
TEXT
  # job NAME RANKS [--set KEY=VALUE...]
  job() {
    local name=$1 ranks=$2
    shift 2
    if with mpirun -n "$ranks" "$programs/selvage" run "$work/deck.toml" --out "$work/$name" "$@" </dev/null >"$work/log" 2>&1; then
      echo "  $name: $(grep -o 'round 2: evaluated.*forced_nll [0-9.]*' "$work/log" | sed 's/.*forced_nll/forced_nll/')"
    else
      failed+=("the job $name")
      tail -40 "$work/log"
    fi
  }
  # same ONE OTHER: behind the block with the digest their outputs differ in nothing but when they were written, and in
  # the last letter of their folder's name, which is in the deck.
  same() {
    local file differing
    for file in checkpoints/step-00000004.h5 drafts/round-0002.h5 woven/round-0002.h5; do
      differing=$( (cmp -l -i 4096 "$work/$1/$file" "$work/$2/$file" 2>&1 || true) | wc -l)
      [ -f "$work/$2/$file" ] && [ "$differing" -le 32 ] || failed+=("$file of the job $2 is not that of $1")
    done
  }
  job ranks-1 1
  job ranks-2 2
  job tensor-2 2 --set grid.tensor=2
  same ranks-1 ranks-2
  [ "$device" != emulated ] || return 0
  job nccl-1 1 --set 'grid.transport="nccl"'
  job ranks-4 4
  same ranks-1 ranks-4
}

measure() {
  echo "== measurements"
  options=(--device "$device" --threads "$(nproc)")
  [ $quick = 0 ] || options+=(--model tiny --seconds 0.01)
  with "$programs/selvage_bench" gpu "${options[@]}" || failed+=("the benchmark table")
  if [ "$device" = cuda ] && python3 -c 'import torch, transformers' 2>/dev/null; then
    echo
    echo "PyTorch and transformers"
    timeout 180 python3 "$peers/gpu.py" $([ $quick = 0 ] || echo --model tiny) || failed+=("PyTorch beside")
  fi
}

if wanted tests; then run_tests; fi
if wanted jobs; then run_jobs; fi
if wanted table; then measure; fi
echo
echo "== $((SECONDS - start)) s"
[ ${#failed[@]} -eq 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
echo "all passed"

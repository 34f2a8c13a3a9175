#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures Selvage against PyTorch and against what the machine can do at most, in turns, and prints a table.
set -euo pipefail

usage() {
  cat <<'TEXT'
tests/bench/run.sh [--json FILE] [--quick] [--only NAME]
  --json FILE   also write {"machine": ..., "figures": [{"name", "value", "unit", "goal", "spread"}]}
  --quick       few and short rounds, to try it out
  --only NAME   only the groups whose name contains NAME, e.g. train_124m_bf16, generate, scaling
A full run takes about a quarter of an hour on two cores; leave the machine alone meanwhile. PyTorch, the newest from
the Python registry, goes into build/bench/venv; SELVAGE_BENCH_PYTHON names another Python that has it.
TEXT
}

bad_option() {
  echo "run.sh: $1; --help lists the options" >&2
  exit 64
}

options=()
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --quick) options+=(--quick) ;;
    --json | --only)
      [ $# -gt 1 ] && [ -n "$2" ] || bad_option "$1 needs a value"
      value=$2
      if [ "$1" = --json ]; then
        value=$(realpath -m -- "$2")
        [ -w "$(dirname "$value")" ] && [ ! -d "$value" ] || bad_option "--json $2 cannot be written there"
      fi
      options+=("$1=$value")
      shift ;;
    *) bad_option "\"$1\" is not an option" ;;
  esac
  shift
done

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source jobs/setup.sh
selvage_packages+=(libbenchmark-dev python3-venv python3-dev)  # PyTorch's compiler needs the headers of Python
selvage_install
selvage_build cpu selvage selvage_bench

# Where the system's Python is another than the first on the path, it is the system's that has h5py.
system_python=$(command -v /usr/bin/python3 || command -v python3)

# A Python with PyTorch, or nothing.
peer_python() {
  if [ -n "${SELVAGE_BENCH_PYTHON:-}" ]; then
    echo "$SELVAGE_BENCH_PYTHON"
    return
  fi
  local venv=build/bench/venv
  [ -x "$venv/bin/python" ] || "$system_python" -m venv "$venv" >&2 || return 0
  "$venv/bin/python" -m pip install --quiet --retries 2 --disable-pip-version-check --upgrade torch >&2 ||
    echo "PyTorch cannot be fetched from the Python registry; using what is there." >&2
  "$venv/bin/python" -c 'import torch' 2>/dev/null && echo "$venv/bin/python"
  return 0
}

python=$(peer_python)
export TORCHINDUCTOR_CACHE_DIR=$PWD/build/bench/inductor TORCHINDUCTOR_COMPILE_THREADS=1
unset OMP_NUM_THREADS OMP_WAIT_POLICY OMP_PROC_BIND  # every program sets its own threads
exec "$system_python" -B tests/bench/bench.py --build build/cpu ${python:+--python="$python"} \
  ${options[@]+"${options[@]}"}

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/fuzz/run.sh BUILD_FOLDER SECONDS [SEED]: every fuzz program of a build for an equal share of the time. The seed
# is the day's by default, so that every day tries other inputs; what is found is saved beside the program.
set -u
folder=${1:?build folder}/tests/fuzz
seconds=${2:?seconds}
seed=${3:-$(date +%Y%m%d)}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
cd "$folder" || exit 1
programs=()
for program in fuzz_*; do
    [ -f "$program" ] && [ -x "$program" ] && programs+=("$program")
done
[ ${#programs[@]} -gt 0 ] || { echo "no fuzz programs in $folder" >&2; exit 1; }
status=0
for program in "${programs[@]}"; do
    "./$program" --seconds $((seconds / ${#programs[@]})) --seed "$seed" || status=1
done
exit $status

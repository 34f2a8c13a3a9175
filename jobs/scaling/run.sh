#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# jobs/scaling/run.sh [--set KEY=VALUE]...
# How a job scales over ranks: the same job on more ranks of the data axis and of the tensor axis (strong), and a batch
# that grows with the ranks of the data axis (weak). Ends with a table and out/scaling/scaling.png: tokens/s, efficiency
# and the share of communication. What stands there is not measured again; run it where nothing else runs. Of the
# environment (defaults):
#   SELVAGE_RANKS  1 2 4 ... up to the cores, or the tasks of the Slurm job    SELVAGE_OUT   out/scaling
#   SELVAGE_DECK   jobs/scaling/scaling.toml                                   SELVAGE_AXES  "data tensor"
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
[ -f "$root/jobs/setup.sh" ] || root=.  # sbatch runs a copy of this, in the folder that it was submitted from
cd "$root"
source jobs/setup.sh
source jobs/launch.sh
selvage=${SELVAGE:-build/cpu/selvage}
if [ -z "${SELVAGE:-}" ]; then
  selvage_install
  selvage_build cpu selvage
fi
deck=${SELVAGE_DECK:-jobs/scaling/scaling.toml}
out=${SELVAGE_OUT:-out/scaling}
axes=${SELVAGE_AXES:-data tensor}
if [ -z "${SELVAGE_RANKS:-}" ]; then
  most=${SLURM_NTASKS:-$(env -u OMP_NUM_THREADS nproc)}
  for ((n = 1; n <= most; n *= 2)); do
    SELVAGE_RANKS="${SELVAGE_RANKS:-} $n"
  done
fi
[ -n "${SELVAGE_DECK:-}" ] || [ -f inputs/quickstart/data/heldout.h5 ] || {
  echo "The quickstart's data is not there yet: run jobs/quickstart/run.sh first." >&2
  exit 66
}
python=/usr/bin/python3  # the one that Debian's h5py is installed for
[ -x $python ] || python=python3
selvage_exactly=1  # also inside a Slurm job
batch=$("$selvage" check --effective "$deck" | sed -n 's/^batch_tokens = //p')

# measure KIND AXIS RANKS WORDS...: one short run into its own folder.
measure() {
  local folder=$out/$1-$2-$3 ranks=$3
  shift 3
  selvage_run "$ranks" "$selvage" "$deck" --out "$folder" "$@"
}

for ranks in $SELVAGE_RANKS; do
  if [ "$ranks" -eq 1 ]; then  # the same job whatever the axis
    measure strong "${axes%% *}" 1 "$@"
    continue
  fi
  for axis in $axes; do
    case $axis in
      data)
        measure strong data $ranks "$@"
        measure weak data $ranks --set "train.batch_tokens=$((batch * ranks))" "$@"
        ;;
      tensor) measure strong tensor $ranks --set "grid.tensor=$ranks" "$@" ;;
      *) echo "SELVAGE_AXES: no axis is called $axis; give data, tensor or both" >&2; exit 64 ;;
    esac
  done
done
PYTHONPATH=. $python jobs/scaling/table.py "$out"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Do fp32 and bf16 train alike? The quickstart's job in both, each with two seeds, on two ranks, into out/precision:
# the difference between precisions beside the one between seeds. Run it again and it goes on from where it was.
# Arguments go to every job: jobs/precision/run.sh --set run.rounds=4
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
[ -f "$root/jobs/setup.sh" ] || root=.  # sbatch runs a copy of this, in the folder that it was submitted from
cd "$root"
source jobs/setup.sh
source jobs/launch.sh
selvage_install
selvage_build cpu selvage
[ -f inputs/quickstart/data/heldout.h5 ] || {
  echo "The quickstart's data is not there yet: run jobs/quickstart/run.sh first." >&2
  exit 66
}
for seed in 1 2; do
  for compute in f32 bf16; do
    selvage_run 2 build/cpu/selvage inputs/quickstart/quickstart.toml --out "out/precision/$compute-$seed" \
      --set "run.seed=$seed" --set "precision.compute=\"$compute\"" "$@"
  done
done
python=/usr/bin/python3  # the one that Debian's h5py is installed for
[ -x $python ] || python=python3
exec $python jobs/precision/compare.py out/precision

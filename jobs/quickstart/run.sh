#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to a finished run on real text: packages, build, data (Debian's package descriptions), and the main job on
# two ranks into out/quickstart. Run it again and it goes on from where it was, or says that it is done.
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
[ -f "$root/jobs/setup.sh" ] || root=.  # sbatch runs a copy of this, in the folder that it was submitted from
cd "$root"
source jobs/setup.sh
source jobs/launch.sh
selvage_install
selvage_build cpu selvage

selvage=build/cpu/selvage
data=inputs/quickstart/data
out=out/quickstart

if [ ! -f "$data/heldout.h5" ]; then
  /usr/bin/env python3 inputs/debian/make.py "$data" --limit 24000 --max-prompt 400
  for part in train validation heldout; do
    "$selvage" prepare --input "$data/$part.jsonl" --output "$data/$part.h5" --tokenizer "$data/tokenizer.model"
  done
fi

code=0
selvage_run 2 "$selvage" inputs/quickstart/quickstart.toml --out "$out" "$@" || code=$?

if [ $code -eq 0 ]; then
  cat <<TEXT

Files in $out:
  run.h5        losses, evaluations with intervals, times (h5py reads it, also while a job runs)
  drafts/       what the model generated in each round, with log-probabilities
  woven/        what it was trained on: every token's origin, and which step used it
  checkpoints/  the newest states; try
    $selvage generate $(ls -t $out/checkpoints/*.h5 | head -1) --prompt "A small tool that prints the time." --turns 1
    $selvage info $out/run.h5
  and a report of all of it in one HTML file:
    python3 -m analysis report $out -o report.html
TEXT
elif [ $code -eq 75 ]; then
  echo "Stopped early with everything saved: run the same command again to go on."
fi
exit $code

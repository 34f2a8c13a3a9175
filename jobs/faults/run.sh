#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# jobs/faults/run.sh [KILLS [SEED]]: the long version of tests/runs/kills_test.py. Kills ranks of small runs at that many
# (300) random moments, and holds every run against one that nobody disturbed. Prints where the kills fell.
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
[ -f "$root/jobs/setup.sh" ] || root=.  # sbatch runs a copy of this, in the folder that it was submitted from
cd "$root"
source jobs/setup.sh
selvage_install
selvage_build cpu selvage
python=$(command -v /usr/bin/python3 || command -v python3)  # the system's, which has h5py
SELVAGE=$PWD/build/cpu/selvage SELVAGE_KILLS=${1:-300} SELVAGE_KILLS_SEED=${2:-1} exec "$python" -B tests/runs/kills_test.py

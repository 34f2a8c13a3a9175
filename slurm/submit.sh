#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# slurm/submit.sh PROFILE [OPTIONS OF SBATCH]... -- DECK [OPTIONS OF selvage run]...
# Submits slurm/selvage.sbatch with what the profile says (partition, account, GPUs, ...); options given here win.
set -euo pipefail

usage() {
  sed -n '3,4s/^# //p' "${BASH_SOURCE[0]}"
  echo "Profiles: $(cd "$(dirname "${BASH_SOURCE[0]}")/profiles" && ls | tr '\n' ' ')"
}
[ "${1:-}" != --help ] || { usage; exit 0; }
[ $# -gt 0 ] && [ -f "$1" ] || { echo "submit.sh: the first word must be the file of a profile" >&2; usage >&2; exit 64; }
SELVAGE_PROFILE=$(realpath "$1")
export SELVAGE_PROFILE
shift
of_sbatch=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  of_sbatch+=("$1")
  shift
done
[ $# -gt 1 ] || { echo "submit.sh: no deck behind --" >&2; usage >&2; exit 64; }
shift

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source "$SELVAGE_PROFILE"
exec sbatch ${selvage_sbatch_options[@]+"${selvage_sbatch_options[@]}"} ${of_sbatch[@]+"${of_sbatch[@]}"} \
  slurm/selvage.sbatch "$@"

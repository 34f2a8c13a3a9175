#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# jobs/compare/run.sh [--slurm PROFILE] [--set KEY=VALUE]...
# Does training on own tokens help? Each task and seed gets one start, trained plainly, from which every method goes on
# for the same number of steps of the same number of tokens; then all held-out examples are answered and scored, and
# out/compare has compare.md and report.html. Run it again and it goes on from where it was. jobs/compare/README.md says
# more.
#   --slurm PROFILE  submits job arrays (a task of an array for each seed) instead of running here, and a job after them
#                    that answers the held-out examples and compares
# What stands behind goes to every run. Of the environment (defaults):
#   SELVAGE_TASKS         "debian arithmetic"
#   SELVAGE_METHODS       "none bash-forced bash-mixed rac both"
#   SELVAGE_SEEDS         "1 2 3"
#   SELVAGE_START_ROUNDS  rounds of plain training before (debian 10, arithmetic 20)
#   SELVAGE_START_RATE    its learning rate (2e-3); that of the methods is in the decks
#   SELVAGE_ROUNDS        rounds of the method (3)
#   SELVAGE_STEPS         steps of a round (100)
#   SELVAGE_PART          heldout; validation to choose settings by, so that nothing is chosen on what is reported
#   SELVAGE_RANKS         2; under Slurm what the job has
#   SELVAGE_OUT           out/compare
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
[ -f "$root/jobs/setup.sh" ] || root=.  # sbatch runs a copy of this, in the folder that it was submitted from
cd "$root"
source jobs/setup.sh
source jobs/launch.sh

tasks=${SELVAGE_TASKS:-debian arithmetic}
methods=${SELVAGE_METHODS:-none bash-forced bash-mixed rac both}
seeds=${SELVAGE_SEEDS:-1 2 3}
start_rate=${SELVAGE_START_RATE:-2e-3}
rounds=${SELVAGE_ROUNDS:-3}
steps=${SELVAGE_STEPS:-100}
part=${SELVAGE_PART:-heldout}
out=${SELVAGE_OUT:-out/compare}
profile=
if [ "${1:-}" = --slurm ]; then
  [ -f "${2:-}" ] || { echo "--slurm needs the file of a profile, see slurm/profiles" >&2; exit 64; }
  profile=$2
  shift 2
fi
selvage=${SELVAGE:-build/cpu/selvage}
if [ -z "${SELVAGE:-}" ]; then
  selvage_install
  selvage_build cpu selvage
fi
python=/usr/bin/python3  # the one that Debian's h5py is installed for
[ -x $python ] || python=python3

# settings METHOD: what makes it, one KEY=VALUE a line.
settings() {
  case $1 in
    none | rac | both) echo "weave.method=\"$1\"" ;;
    bash-*) printf '%s\n' 'weave.method="bash"' "weave.bash.draft=\"${1#bash-}\"" ;;
    *) echo "no method is called $1" >&2; exit 64 ;;
  esac
}

# words_of SETTINGS: `--set` in front of each line.
words_of() {
  local line
  while read -r line; do
    words+=(--set "$line")
  done <<<"$1"
}

data_of() {
  case $1 in
    debian) echo inputs/quickstart/data ;;
    arithmetic) echo inputs/arithmetic/data ;;
    *) echo "no task is called $1" >&2; exit 64 ;;
  esac
}

make_data() {
  local task=$1 data part
  data=$(data_of "$task")
  [ ! -f $data/heldout.h5 ] || [ ! -f $data/validation.h5 ] || [ ! -f $data/train.h5 ] || return 0
  if [ "$task" = debian ]; then
    [ -f $data/heldout.jsonl ] || $python inputs/debian/make.py $data --limit 24000 --max-prompt 400
  else
    [ -f $data/heldout.jsonl ] || $python inputs/arithmetic/make.py $data --count 40000 --difficulty easy
  fi
  local tokenizer=bytes
  [ "$task" != debian ] || tokenizer=$data/tokenizer.model
  for part in train validation heldout; do
    "$selvage" prepare --input $data/$part.jsonl --output $data/$part.h5 --tokenizer $tokenizer
  done
}

# start_rounds_of TASK: until plain training has little more to give.
start_rounds_of() {
  case $1 in
    arithmetic) echo "${SELVAGE_START_ROUNDS:-20}" ;;
    *) echo "${SELVAGE_START_ROUNDS:-10}" ;;
  esac
}

# examples_of TASK: whose answers are scored.
examples_of() {
  realpath -m "$(data_of "$1")/$part.h5"
}

# words_of_start SEED TASK, words_of_method METHOD SEED TASK: the words of a run behind its deck, to `words`. A start has a
# seed of its own, so that the methods after it see the data in another order.
words_of_start() {
  words=(--set 'weave.method="none"' --set "run.seed=100$1" --set "run.rounds=$(start_rounds_of "$2")"
    --set "train.learning_rate=$start_rate" --set "train.steps_per_round=$steps"
    --set "data.heldout=\"$(examples_of "$2")\"")
}
words_of_method() {
  local start
  start=$(realpath -m "$out/$3/start-$2/checkpoints")/$(printf 'step-%08d.h5' $(($(start_rounds_of "$3") * steps)))
  words=()
  words_of "$(settings "$1")"
  words+=(--set "run.seed=$2" --set "run.rounds=$rounds" --set "train.steps_per_round=$steps"
    --set "data.heldout=\"$(examples_of "$3")\"" --set "model.from=\"$start\"")
}

submit() {
  local array job starts all=() task method
  array=$(echo $seeds | tr ' ' ,)
  for task in $tasks; do
    words_of_start %a $task
    starts=$(slurm/submit.sh "$profile" --parsable --array="$array" -- \
      jobs/compare/$task.toml --out "$out/$task/start-%a" "${words[@]}" "$@")
    for method in $methods; do
      words_of_method $method %a $task
      job=$(slurm/submit.sh "$profile" --parsable --array="$array" --dependency=aftercorr:"${starts%%;*}" --kill-on-invalid-dep=yes -- \
        jobs/compare/$task.toml --out "$out/$task/$method-%a" "${words[@]}" "$@")
      all+=("${job%%;*}")
    done
  done
  source "$profile"
  job=$(SELVAGE_PROFILE=$(realpath "$profile") sbatch ${selvage_sbatch_options[@]+"${selvage_sbatch_options[@]}"} --parsable \
    --job-name=selvage-compare --output=%x-%j.log --kill-on-invalid-dep=yes \
    --dependency=afterok:"$(IFS=:; echo "${all[*]}")" jobs/compare/run.sh "$@")
  echo "Submitted ${#all[@]} arrays of methods, and job ${job%%;*}, which makes $out/compare.md and $out/report.html after them."
}

# The words come from the array `words`.
run_one() {
  local deck=$1 folder=$2 code=0
  shift 2
  echo "== $folder"
  selvage_run "${SELVAGE_RANKS:-2}" "$selvage" "$deck" --out "$folder" "${words[@]}" "$@" || code=$?
  [ $code -ne 75 ] || echo "Stopped early with everything saved: run the same command again to go on."
  [ $code -eq 0 ] || exit $code
}

# answer_heldout TASK FOLDER: greedy answers with one correction turn, and scores, of all held-out examples.
answer_heldout() {
  local data folder=$2 checkpoint ranks=${SELVAGE_RANKS:-2}
  data=$(examples_of "$1")
  checkpoint=$folder/checkpoints/$(printf 'step-%08d.h5' $((rounds * steps)))
  mkdir -p "$folder/heldout"
  [ -f "$folder/heldout/drafts.h5" ] || selvage_parallel "$ranks" "$selvage" generate "$checkpoint" --data "$data" \
    --output "$folder/heldout/drafts.h5" --turns 1 --set generate.temperature=0
  [ -f "$folder/heldout/scores.h5" ] || selvage_parallel "$ranks" "$selvage" score "$checkpoint" --data "$data" \
    --output "$folder/heldout/scores.h5"
}

for method in $methods; do
  settings $method >/dev/null
done
for task in $tasks; do
  make_data $task
done
if [ -n "$profile" ]; then
  submit "$@"
  exit
fi
folders=()
for task in $tasks; do
  for seed in $seeds; do
    words_of_start $seed $task
    run_one jobs/compare/$task.toml "$out/$task/start-$seed" "$@"
    for method in $methods; do
      words_of_method $method $seed $task
      run_one jobs/compare/$task.toml "$out/$task/$method-$seed" "$@"
      answer_heldout $task "$out/$task/$method-$seed"
      folders+=("$out/$task/$method-$seed")
    done
  done
done
$python -m analysis compare "${folders[@]}" >"$out/compare.md"
$python -m analysis report "${folders[@]}" -o "$out/report.html"
cat "$out/compare.md"

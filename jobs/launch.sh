# SPDX-License-Identifier: Apache-2.0
# Sourced by jobs/*/run.sh and slurm/selvage.sbatch: starts a parallel program and turns the signals that would end it into
# a request to stop with everything saved. Inside a Slurm job what the profile SELVAGE_PROFILE says holds (slurm/profiles).
[ -z "${SLURM_JOB_ID:-}" ] || [ -z "${SELVAGE_PROFILE:-}" ] || source "$SELVAGE_PROFILE"

# selvage_told_to_stop COMMAND...: runs it; TERM, INT and USR1 to this shell become USR1 to the command (mpirun and srun
# hand it on to every rank; TERM would make them kill the ranks). Returns the command's code: 75 is "stopped, go on later".
selvage_told_to_stop() {
  local code=0 job
  "$@" &
  job=$!
  trap 'echo "$(date +%FT%T) told to stop"; kill -USR1 '$job USR1 TERM INT
  wait $job || code=$?
  while kill -0 $job 2>/dev/null; do  # a signal ends `wait`, not the job
    code=0
    wait $job || code=$?
  done
  trap - USR1 TERM INT
  return $code
}

# selvage_parallel RANKS PROGRAM COMMAND ARGUMENTS...: `PROGRAM COMMAND ARGUMENTS` by mpirun on so many ranks; inside a Slurm
# job by what the profile says (srun without one) on all that the job has, or on RANKS of it where selvage_exactly is set.
selvage_parallel() {
  local ranks=$1 launcher
  shift
  case ${SLURM_JOB_ID:+${selvage_launcher:-srun}} in
    "") launcher=(mpirun -n "$ranks") ;;
    srun) launcher=(srun --mpi=pmix --kill-on-bad-exit=1 ${selvage_srun_options[@]+"${selvage_srun_options[@]}"}) ;;
    mpirun) launcher=(mpirun ${selvage_mpirun_options[@]+"${selvage_mpirun_options[@]}"}) ;;
    *) echo "selvage_launcher is \"$selvage_launcher\"; give srun or mpirun" >&2; return 64 ;;
  esac
  [ -z "${SLURM_JOB_ID:-}" ] || [ -z "${selvage_exactly:-}" ] || launcher+=(-n "$ranks")
  selvage_told_to_stop "${launcher[@]}" "$@"
}

# selvage_run RANKS PROGRAM ARGUMENTS...: the same for `PROGRAM run ARGUMENTS`.
selvage_run() {
  selvage_parallel "$1" "$2" run "${@:3}"
}

# SPDX-License-Identifier: Apache-2.0
# A plain CPU cluster whose Slurm has PMIx. A profile is read twice: at submission for selvage_sbatch_options, and in the
# job for the rest. Copy one, and put your site's names in.
selvage_sbatch_options=(--partition=main --ntasks-per-node=2 --time=24:00:00)  # --account=NAME where there are accounts
# module load gcc openmpi hdf5/parallel                                        # what the program was built with
selvage_launcher=srun                                                           # srun --mpi=pmix
selvage_srun_options=()                                                         # e.g. --cpu-bind=cores

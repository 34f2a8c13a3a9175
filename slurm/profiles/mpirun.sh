# SPDX-License-Identifier: Apache-2.0
# Where srun has no PMIx: mpirun inside the batch script, which finds the nodes by itself.
selvage_sbatch_options=(--partition=main --ntasks-per-node=2 --time=24:00:00)
selvage_launcher=mpirun
selvage_mpirun_options=(--bind-to core --map-by slot)

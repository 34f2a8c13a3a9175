# SPDX-License-Identifier: Apache-2.0
# Nodes of four GPUs, one rank for each; srun with PMIx. The program takes GPUs by the rank's place on its node, so all
# four must be visible to every rank of it (no --gpus-per-task).
selvage_sbatch_options=(--partition=gpu --account=project --gpus-per-node=4 --ntasks-per-node=4 --cpus-per-task=8 --time=24:00:00)
# module load cuda nccl openmpi hdf5/parallel
selvage_launcher=srun
selvage_srun_options=(--cpu-bind=cores)
export NCCL_DEBUG=WARN

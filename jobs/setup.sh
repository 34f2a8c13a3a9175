#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by jobs/quickstart/run.sh and tests/run.sh: makes sure of what a build needs, sets what Open MPI needs, and
# offers selvage_build. On Debian 12 missing packages are installed (with sudo where not root); elsewhere, or
# without apt, what is missing is printed and the build is tried with what modules or Spack provide.
set -euo pipefail

selvage_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1  # containers
export OMPI_MCA_mpi_yield_when_idle=1                             # more ranks than cores is common on a laptop
export OMPI_MCA_rmaps_base_oversubscribe=1

selvage_packages=(
  g++ cmake ninja-build pkg-config ca-certificates
  openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
  libboost-program-options1.81-dev libboost-json1.81-dev libboost-context1.81-dev
  libtomlplusplus-dev libfmt-dev libspdlog-dev libxxhash-dev zlib1g-dev libzstd-dev
  libdnnl-dev ocl-icd-opencl-dev
  libsentencepiece-dev sentencepiece
  libgtest-dev libgmock-dev
  python3 python3-h5py python3-numpy python3-matplotlib
)

selvage_install() {
  [ -z "${SLURM_JOB_ID:-}" ] || return 0  # what a cluster's nodes have is decided before the job
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "No apt here. Needed are: a C++20 compiler, CMake 3.22, Ninja, an MPI, parallel HDF5, Boost 1.81 (program_options," \
         "json, context), toml++, fmt, spdlog, xxHash, zlib, Zstandard, oneDNN, sentencepiece, GoogleTest; Python 3 with h5py, numpy, matplotlib." \
         "Load them as modules or from Spack; going on with what is there." >&2
    return
  fi
  local missing=() package
  for package in "${selvage_packages[@]}"; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "Installing ${#missing[@]} packages: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Not root, and no sudo: ask an administrator for the packages above; going on with what is there." >&2
      return
    fi
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# selvage_build PRESET [TARGET...]: configures where needed and builds into build/PRESET. Inside a Slurm job a program that
# is there is taken as it is.
selvage_build() {
  local preset=$1
  shift
  [ -z "${SLURM_JOB_ID:-}" ] || [ ! -x "$selvage_root/build/$preset/selvage" ] || return 0
  (
    cd "$selvage_root"
    [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >"build-$preset.log" 2>&1 || {
      cat "build-$preset.log" >&2
      exit 1
    }
    mkdir -p "build/$preset"
    [ ! -f "build-$preset.log" ] || mv "build-$preset.log" "build/$preset/configure.log"
    cmake --build "build/$preset" ${1+--target "$@"}
  )
}

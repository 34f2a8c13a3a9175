#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/support/bundle.sh DIR PROGRAM...: copies the programs with Open MPI and all libraries that a plain x86-64 Linux
# with the same or a newer glibc may lack into DIR, for a machine where nothing can be installed. There:
#   DIR/with mpirun -n 2 DIR/bin/PROGRAM ...
# CUDA's libraries, which are large, come along with SELVAGE_BUNDLE_CUDA=1; the driver's never do.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,6s/^# //p' "$0" >&2; exit 64; }
out=$1
shift
command -v ompi_info >/dev/null || { echo "bundle.sh: no ompi_info on the path; it knows where Open MPI's parts are" >&2; exit 69; }
where() { ompi_info --parsable --path "$1" | cut -d: -f3-; }
components=$(where pkglibdir)
[ -d "$components" ] && [ -x "$(where bindir)/orted" ] ||
  { echo "bundle.sh: only Open MPI 4 with separate components can be taken along" >&2; exit 69; }

mkdir -p "$out"/bin "$out"/lib/openmpi "$out"/share
cp "$@" "$(where bindir)/orted" "$out/bin/"
cp "$(where bindir)/orterun" "$out/bin/mpirun"
cp -rL "$(where pkgdatadir)" "$out/share/openmpi"
# What is left out needs a network or a batch system that is not there.
left_out='mca_(btl_(ofi|openib|uct|usnic)|mtl_.*|pml_(cm|ucx|yalla)|coll_(hcoll|fca)|osc_ucx|ess_slurm|plm_(slurm|rsh)|ras_(slurm|gridengine)|schizo_slurm|io_romio.*|memheap_.*|scoll_.*|spml_.*|sshmem_.*|atomic_.*)\.so'
for component in "$components"/mca_*.so; do
  [[ $(basename "$component") =~ ^$left_out$ ]] || cp "$component" "$out/lib/openmpi/"
done
pmix=$(find "$(where libdir)/.." "$(where libdir)/../.." -maxdepth 3 -path '*pmix*/lib/pmix' -print -quit 2>/dev/null)
[ -z "$pmix" ] || cp -rL "$pmix" "$out/lib/pmix"

always_there='ld-linux[^/]*|libc|libm|libdl|librt|libpthread|libresolv|libutil|libcuda'
of_cuda='libcudart|libcublas|libcublasLt|libcudnn[a-z_]*|libnccl|libnvrtc[a-z.-]*|libnvJitLink'
[ "${SELVAGE_BUNDLE_CUDA:-0}" = 1 ] || always_there="$always_there|$of_cuda"
find "$out/bin" "$out/lib" -type f -print0 | xargs -0 ldd 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
  { grep -vE "/($always_there)\.so[^/]*$" || true; } | xargs -r -I{} cp -Ln {} "$out/lib/"

cat >"$out/with" <<'TEXT'
#!/bin/sh
# Runs a command with the libraries beside this file. CUDA's are looked for here, in CUDA_HOME, and in Python's packages.
here=$(cd "$(dirname "$0")" && pwd)
libraries=$here/lib:${CUDA_HOME:-/usr/local/cuda}/lib64:${CUDA_HOME:-/usr/local/cuda}/lib
for folder in $(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null)/nvidia/*/lib; do
  [ ! -d "$folder" ] || libraries=$libraries:$folder
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} PATH=$here/bin:$PATH
export OPAL_PREFIX=$here PMIX_INSTALL_PREFIX=$here OMPI_MCA_mca_base_component_path=$here/lib/openmpi
export PMIX_MCA_mca_base_component_path=$here/lib/pmix PMIX_MCA_gds=hash PMIX_MCA_pcompress_base_silence_warning=1
export OMPI_MCA_plm=isolated OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 HWLOC_HIDE_ERRORS=2
exec "$@"
TEXT
chmod +x "$out/with"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# format_test.sh: every C++ and CUDA source is as clang-format makes it. Releases of clang-format disagree, so only one is asked;
# without it the exit status is 77 (skipped).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
release=14
for program in clang-format-$release clang-format; do
  command -v "$program" >/dev/null || continue
  version=$("$program" --version)
  case $version in
    *"version $release."*) find src tests -name '*.cpp' -print0 -o -name '*.h' -print0 -o -name '*.cu' -print0 |
      xargs -0 "$program" --dry-run -Werror && exit 0 || exit 1 ;;
  esac
  echo "$program is not release $release: $version"
done
echo "no clang-format $release here; the check is skipped"
exit 77

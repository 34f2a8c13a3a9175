#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs the tests. Arguments go to ctest: tests/run.sh -L unit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source jobs/setup.sh
selvage_install
selvage_build cpu
exec ctest --test-dir build/cpu --output-on-failure --no-tests=error -j2 "$@"

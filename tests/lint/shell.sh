#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs shellcheck over every shell script of the tree; skipped where it is missing.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"

command -v shellcheck >/dev/null 2>&1 || {
	echo "shellcheck is not installed"
	exit 77
}
scripts=$(for f in setup run check .ci/run samples/retrain samples/retrain-stories \
    tests/run-command tests/terminal/screens tests/*/*.sh tests/bench/run tests/fuzz/run; do
	if [ -f "$f" ]; then echo "$f"; fi
done)
# shellcheck disable=SC2086
shellcheck -x -S warning -e SC2034,SC2038,SC2044 $scripts

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Every source says its licence, ends with a newline, and has no blanks at the
# ends of lines. No tracked text names a path of somebody's machine.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"
status=0

say() {
	echo "$1"
	status=1
}

for f in src/*/*.[ch] src/*.c ops/*.[ch] ui/*.[ch] ui/*/*.[ch] samples/*.c \
    tests/*/*.[ch] tests/*/*.sh configure.ac Makefile.am; do
	[ -f "$f" ] || continue
	head -n 3 "$f" | grep -q 'SPDX-License-Identifier: GPL-3.0-or-later' ||
	    say "$f: no licence line at the top"
	[ -z "$(tail -c 1 "$f")" ] || say "$f: no newline at the end"
	lines=$(grep -n '[ 	]$' "$f" | cut -d: -f1 | tr '\n' ' ')
	[ -z "$lines" ] || say "$f: blanks at the end of lines $lines"
done

# The pattern is put together so that this file does not match itself.
machine="/(ro""ot|ho""me/[a-z]+|wo""rk|Us""ers)/"
paths=$(grep -rnIE "(^|[\"' =(])$machine" src ops ui man samples tests \
    README.md CONTRIBUTING.md NEWS.md setup run check configure.ac Makefile.am \
    --include='*' --exclude='*.tsv' --exclude='*.log' --exclude='*.o' || true)
[ -z "$paths" ] || say "paths of one machine:
$paths"
exit $status

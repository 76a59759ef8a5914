#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Functions fit on a screen or two: none may pass LIMIT lines. Prints the
# longest ones and the median, pass or fail.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"
LIMIT=120

find src ops ui samples -name '*.c' | xargs awk '
FNR == 1 { name = "" }
/^[a-z_][a-z0-9_]*\(/ { name = $0; sub(/\(.*/, "", name); begin = FNR }
/;$/ && begin == FNR { name = "" }
/^}/ && name != "" {
	print FNR - begin + 1, FILENAME ":" begin, name
	name = ""
}' | sort -rn | awk -v limit=$LIMIT '
{ n[NR] = $1 }
NR <= 10 { print }
$1 > limit { bad++ }
END {
	print NR " functions, median " n[int((NR + 1) / 2)] " lines"
	if (bad) {
		print bad " over " limit " lines"
		exit 1
	}
}'

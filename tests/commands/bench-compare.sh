#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# tests/bench/compare: what differs beyond noise, which way is worse, and the
# status.
set -eu
compare=$PARE_SOURCE/tests/bench/compare
dir=$(mktemp -d "${TMPDIR:-/tmp}/compare-XXXXXX")
trap 'rm -rf "$dir"' EXIT

# results FILE THREADS FIGURE...: as tests/bench/run writes them.
results() {
	file=$dir/$1
	threads=$2
	shift 2
	{
		echo '{"machine": {'
		echo '  "cpu": "one \"fast\" cpu",'
		printf '  "threads": %s\n },\n "figures": [' "$threads"
		comma=
		for figure in "$@"; do
			printf '%s\n  {%s}' "$comma" "$figure"
			comma=,
		done
		printf '\n ],\n "lines": [\n ]}\n'
	} >"$file"
}

# figure NAME VALUE UNIT LOW HIGH N [SENSE LIMIT]
figure() {
	printf '"name": "%s", "value": %s, "unit": "%s", "low": %s, ' \
	    "$1" "$2" "$3" "$4"
	printf '"high": %s, "n": %s' "$5" "$6"
	[ $# -lt 8 ] || printf ', "wanted": "%s", "limit": %s, "met": true' \
	    "$7" "$8"
}

# expect STATUS PATTERN ARGUMENT...: the status, and a line that matches.
expect() {
	want=$1
	pattern=$2
	shift 2
	status=0
	"$compare" "$@" >"$dir/out" 2>&1 || status=$?
	if [ "$status" != "$want" ]; then
		echo "compare $*: status $status, expected $want"
		cat "$dir/out"
		exit 1
	fi
	grep -Eq "$pattern" "$dir/out" || {
		echo "compare $*: no line matches $pattern"
		cat "$dir/out"
		exit 1
	}
}

results a 2 "$(figure 'a, pass' 100 ms 99 101 9)" \
    "$(figure rate 200 token/s 198 202 9)" \
    "$(figure share 0.50 share 0.49 0.51 9 '<=' 0.6)" \
    "$(figure bytes 100 MiB 100 100 1)"

# The same, and what only wobbles: nothing to say.
expect 0 '^4 figures in both, 0 better, 0 worse' "$dir/a" "$dir/a"
results b 2 "$(figure 'a, pass' 104 ms 103 105 9)" \
    "$(figure rate 150 token/s 100 250 4)" \
    "$(figure share 0.51 share 0.50 0.52 9 '<=' 0.6)" \
    "$(figure bytes 100.5 MiB 100.5 100.5 1)"
expect 0 '^4 figures in both, 0 better, 0 worse' "$dir/a" "$dir/b"
expect 0 '^rate .*0\.750 *$' -a "$dir/a" "$dir/b"

# More milliseconds, fewer tokens, more of an "at most", more bytes: worse.
results c 2 "$(figure 'a, pass' 120 ms 119 121 9)" \
    "$(figure rate 150 token/s 148 152 9)" \
    "$(figure share 0.55 share 0.54 0.56 9 '<=' 0.6)" \
    "$(figure bytes 102 MiB 102 102 1)"
expect 1 '^4 figures in both, 0 better, 4 worse' "$dir/a" "$dir/c"
expect 1 '^a, pass .*1\.200  worse$' "$dir/a" "$dir/c"
expect 1 '^share .*1\.100  worse$' "$dir/a" "$dir/c"
expect 0 '^4 figures in both, 4 better, 0 worse' "$dir/c" "$dir/a"

# A wanted sense decides over the unit.
results d 2 "$(figure gain 2 x 1.99 2.01 9)"
results e 4 "$(figure gain 3 x 2.99 3.01 9)" "$(figure new 1 ms 1 1 3)"
expect 0 '^gain .*1\.500  better$' "$dir/d" "$dir/e"
expect 0 '^threads differs: 2 \| 4$' "$dir/d" "$dir/e"
expect 0 '; 0 only in A, 1 only in B$' "$dir/d" "$dir/e"
results f 2 "$(figure gain 3 x 2.99 3.01 9 '<=' 2.5)"
expect 1 '^gain .*1\.500  worse$' "$dir/d" "$dir/f"

# What cannot be compared.
expect 2 '^usage' "$dir/a"
expect 2 '^usage' "$dir/a" "$dir/nowhere"
echo '{}' >"$dir/empty"
expect 2 'no figures in .*/empty' "$dir/a" "$dir/empty"

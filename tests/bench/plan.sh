#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What `plan` foretells and what is measured, for ten budgets of bytes, and the
# smallest model within one point and within one and a half.
# usage: PARE=... [BUDGETS="bytes<=4x drop<=1pt"] tests/bench/plan.sh \
#     [MODEL EVAL CALIB]
# The sample with its own data unless said. What options cost is measured once
# and remembered in the state folder.
set -eu
: "${PARE:?names the program}"
model=${1:-samples/reviews}
eval=${2:-samples/reviews.test.tsv}
calib=${3:-samples/reviews.dev.tsv}

# value FILE OBJECT KEY
value() {
	grep -o "\"$2\":{[^}]*}" "$1" | grep -o "\"$3\":[-0-9.e]*" |
	    head -n 1 | sed 's/.*://'
}

doc=$(mktemp)
trap 'rm -f "$doc"' EXIT
printf '%-16s %10s %8s %9s %9s %9s %9s %8s\n' budget bytes smaller \
    foretold calib measured accuracy 'x time'
for budget in ${BUDGETS:-bytes<=2x bytes<=3x bytes<=4x bytes<=6x bytes<=8x \
    bytes<=12x bytes<=16x bytes<=20x bytes<=24x bytes<=32x drop<=1pt \
    drop<=1.5pt}; do
	if ! "$PARE" --json "$model" -d "$eval" --data "calib=$calib" \
	    -c "plan $budget" </dev/null >"$doc" 2>&1; then
		echo "$budget: $(grep -o '"hint":"[^"]*"' "$doc")"
		continue
	fi
	start=$(value "$doc" start bytes)
	bytes=$(value "$doc" measured bytes)
	awk -v b="$budget" -v s="$start" -v n="$bytes" \
	    -v told="$(value "$doc" predicted drop)" \
	    -v calib="$(value "$doc" calib drop)" \
	    -v is="$(value "$doc" measured drop)" \
	    -v v="$(value "$doc" measured value)" \
	    -v t="$(value "$doc" measured latency_ratio)" 'BEGIN {
		printf "%-16s %10d %7.1fx %6.2f pt %6.2f pt %6.2f pt " \
		    "%7.2f %% %8.2f\n", b, n, s / n, 100 * told,
		    100 * calib, 100 * is, 100 * v, t
	}'
done

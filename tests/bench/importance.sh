#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What each importance is worth:
#
#	tests/bench/importance.sh MODEL EVAL CALIB
#
# - the rank correlation of each with the exact sweep over heads and over blocks
#   of neurons: with the divergence, in brackets with the rise of the loss;
# - the largest share of heads and of FFN neurons that goes, in steps of 10 %,
#   with all smaller shares, at the cost of at most one point of accuracy on
#   EVAL; random with three seeds; without repair and with repair=refit.
#
# CALIB alone is looked at to choose. PARE names the program; a run takes about
# 40 x 9 evaluations. STEPS="20 40" asks for other shares.
set -eu
pare=${PARE:-pare}
steps=${STEPS:-10 20 30 40 50 60 70 80 90}
[ $# = 3 ] || {
	echo "usage: $0 MODEL EVAL CALIB" >&2
	exit 2
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# run LINE...: pare's answers as JSON.
run() {
	for line; do
		printf '%s\n' "$line"
	done >"$dir/lines"
	"$pare" --no-state --json "$model" -d "$eval" --data calib="$calib" \
	    -f "$dir/lines" </dev/null 2>"$dir/err" || cat "$dir/err" >&2
}

# The accuracies of the eval answers of a run, one a line.
accuracies() {
	grep '"command":"eval"' | sed 's/.*"value":\([^,]*\),.*/\1/'
}

# walk UNIT HOW...: the share that goes within one point.
walk() {
	unit=$1
	shift
	set -- "$*"
	how=$1
	set -- eval
	for p in $steps; do
		set -- "$@" "prune $unit $p% $how" eval undo
	done
	run "$@" | accuracies >"$dir/acc"
	# shellcheck disable=SC2086
	printf '%s\n' 0 $steps | paste - "$dir/acc" | awk '
	    NR == 1 { base = $2 }
	    NR > 1 && $2 < base - 0.01 { exit }
	    { best = $1 }
	    END { printf "%s %%", best }'
}

model=$1 eval=$2 calib=$3
printf '%s, eval %s, calib %s\n' "$model" "$eval" "$calib"
for unit in heads 'neurons block=32'; do
	run "sweep $unit compare=on" | grep '"spearman":' |
	    sed 's/.*"spearman":{\(.*\)}.*/\1/' | tr '}' '\n' |
	    sed -n 's/.*"\([a-z]*\)":{"kl":\([^,]*\),"loss":\([^,]*\).*/\1 \2 \3/p' |
	    awk -v unit="${unit%% *}" '
		BEGIN { printf "rank correlation, %s:", unit }
		{ printf("%s %s %.2f (%.2f)", (NR > 1 ? "," : ""), $1, $2, $3) }
		END { print "" }'
done
printf '%-14s %10s %10s %10s %10s\n' 'by' heads '+refit' neurons '+refit'
for by in magnitude activation gradient fisher lrp wanda obs \
    'random seed=1' 'random seed=2' 'random seed=3'; do
	printf '%-14s' "$by"
	for unit in heads neurons; do
		for repair in none refit; do
			printf ' %10s' "$(walk $unit "by=$by repair=$repair")"
		done
	done
	echo
done

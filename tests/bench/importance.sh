#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What each importance is worth:
#
#	tests/bench/importance.sh MODEL EVAL CALIB
#
# - the rank correlation of each with the exact sweep over heads and over blocks
#   of neurons: with the divergence, in brackets with the rise of the loss; how
#   long the sweep took, in evaluations of the samples that it looks at;
# - the largest share of heads and of FFN neurons that goes, in steps of 10 %,
#   with all smaller shares, at the cost of at most one point of accuracy; random
#   with three seeds; without repair and with repair=refit. The steps are walked
#   up on 400 samples of EVAL, always the same ones; where that ends is measured
#   on all of them, and if it costs more there, the step below, and so on.
#
# CALIB alone is looked at to choose. PARE names the program. One process answers
# for a measure, so that what it looks at is gathered once. STEPS="20 40" asks
# for other shares, FEW=N for other than 400 samples, BLOCK=N for other blocks of
# neurons, BY="obs random,7" for other measures (and seeds).
set -eu
pare=${PARE:-pare}
steps=${STEPS:-10 20 30 40 50 60 70 80 90}
few=${FEW:-400}
[ $# = 3 ] || {
	echo "usage: $0 MODEL EVAL CALIB" >&2
	exit 2
}
model=$1 eval=$2 calib=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# ask LINE: the program's answer into $doc; false where it refused.
ask() {
	printf '%s\n' "$1" >&3
	read -r doc <&4 || {
		cat "$dir/err" >&2
		exit 1
	}
	case $doc in *'"ok":true'*) ;; *) return 1 ;; esac
}

# The accuracy of the present state into $value.
measure() {
	ask eval
	value=${doc#*\"value\":}
	value=${value%%,*}
}

# The samples that are asked from now on, and what the whole model does on them.
use_data() {
	ask "data $1 role=eval"
	measure
	base=$value
}

# within UNIT SHARE HOW: whether it costs at most a point.
within() {
	ask "prune $1 $2% $3" || {
		# A refusal ends the program.
		start_program
		return 1
	}
	measure
	ask undo
	awk -v v="$value" -v b="$base" 'BEGIN { exit v < b - 0.01 }'
}

# walk UNIT HOW: up to the first share that costs more; $way has those that do
# not, the largest first.
walk() {
	way=
	for p in $steps; do
		within "$1" "$p" "$2" || break
		way="$p $way"
	done
}

# settle UNIT HOW: the first of $way that holds on all samples.
settle() {
	for p in $way; do
		within "$1" "$p" "$2" || continue
		printf ' %9s %%' "$p"
		return
	done
	printf ' %9s %%' 0
}

start_program() {
	exec 3>&- 4<&-
	rm -f "$dir/in" "$dir/out"
	mkfifo "$dir/in" "$dir/out"
	"$pare" --no-state --json "$model" --data calib="$calib" \
	    <"$dir/in" >"$dir/out" 2>"$dir/err" &
	exec 3>"$dir/in" 4<"$dir/out"
	use_data "$data"
}

# Keeps the first line and draws $few of the others.
draw() {
	awk -v k="$few" 'NR == FNR { n = FNR - 1; next }
	    FNR == 1 { x = 1; print; next }
	    { x = x * 16807 % 2147483647 }
	    x / 2147483647 * (n - FNR + 2) < k { print; k-- }' "$1" "$1"
}

rank_correlation() {
	unit=$1
	shift
	"$pare" --no-state --json "$model" --data calib="$calib" \
	    -c "sweep $unit $* compare=on" </dev/null >"$dir/sweep"
	sed 's/.*"spearman":{\(.*\)}.*/\1/' "$dir/sweep" | tr '}' '\n' |
	    sed -n 's/.*"\([a-z]*\)":{"kl":\([^,]*\),"loss":\([^,]*\).*/\1 \2 \3/p' |
	    awk -v unit="$unit" '
		BEGIN { printf "rank correlation, %s:", unit }
		{ printf("%s %s %.2f (%.2f)", (NR > 1 ? "," : ""), $1, $2, $3) }
		END { print "" }'
	tr ',' '\n' <"$dir/sweep" | awk -F: -v unit="$unit" '
	    $1 == "\"n\"" { n = $2 }
	    $1 == "\"samples\"" { samples = $2 }
	    $1 == "\"seconds\"" { s = $2 }
	    $1 == "\"evaluation_seconds\"" { e = $2 }
	    END {
		printf "sweep %s: %d items on %d samples in %.1f s, ", unit,
		    n, samples, s
		printf "%.2f evaluations each\n", s / e / n
	    }'
}

printf '%s, eval %s, calib %s\n' "$model" "$eval" "$calib"
rank_correlation heads
# shellcheck disable=SC2086
rank_correlation neurons ${BLOCK:+block=$BLOCK}
printf '%-14s %11s %11s %11s %11s\n' 'by' heads '+refit' neurons '+refit'
draw "$eval" >"$dir/few.tsv"
for by in ${BY:-magnitude activation gradient fisher lrp wanda obs random,1 \
    random,2 random,3}; do
	how="by=$(echo "$by" | sed 's/,/ seed=/')"
	printf '%-14s' "${how#by=}"
	data=$dir/few.tsv
	start_program
	walk heads "$how repair=none"
	a=$way
	walk heads "$how repair=refit"
	b=$way
	walk neurons "$how repair=none"
	c=$way
	walk neurons "$how repair=refit"
	d=$way
	data=$eval
	use_data "$data"
	way=$a
	settle heads "$how repair=none"
	way=$b
	settle heads "$how repair=refit"
	way=$c
	settle neurons "$how repair=none"
	way=$d
	settle neurons "$how repair=refit"
	echo
done

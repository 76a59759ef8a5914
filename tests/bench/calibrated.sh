#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What each calibrated method is worth against the plain one at the same bytes:
# the metric on the eval samples, and what the error of outputs says where the op
# tells it. Calib samples are drawn anew for each seed.
# usage: PARE=... [SEEDS="1 2 3"] [LIMIT=256] tests/bench/calibrated.sh \
#     [MODEL EVAL CALIB]
# The sample with its own data unless said.
set -eu
: "${PARE:?names the program}"
model=${1:-samples/reviews}
eval=${2:-samples/reviews.test.tsv}
calib=${3:-samples/reviews.dev.tsv}
limit=${LIMIT:-256}

doc=$(mktemp)
trap 'rm -f "$doc"' EXIT

# pairs: bytes|plain line|calibrated line
pairs() {
	cat <<'LINES'
4 bits|quantize L* bits=4 group=row method=rtn|quantize L* bits=4 group=row method=gptq
3 bits|quantize L* bits=3 group=row method=rtn|quantize L* bits=3 group=row method=gptq
2 bits|quantize L* bits=2 group=32 method=rtn|quantize L* bits=2 group=32 method=gptq
50 % zeros|prune weights 50% L* method=zero|prune weights 50% L* method=sparsegpt
70 % zeros|prune weights 70% L* method=zero|prune weights 70% L* method=sparsegpt
ranks of 50 %|factorize L* ratio=50% method=svd|factorize L* ratio=50% method=whitened
ranks of 25 %|factorize L* ratio=25% method=svd|factorize L* ratio=25% method=whitened
50 % neurons|prune neurons 50% by=magnitude repair=none|prune neurons 50% by=magnitude repair=refit
50 % neurons, fisher|prune neurons 50% by=fisher repair=none|prune neurons 50% by=fisher repair=refit
LINES
}

# The n-th number of a key in the document.
number() {
	grep -o "\"$2\":[-0-9.e]*" "$doc" | sed -n "$1p" | sed 's/.*://'
}

# One process a seed: all pairs from the same state. The first eval is of it.
run_seed() {
	set -- --no-state --json "$model" -d "$eval" -c \
	    "data $calib role=calib limit=$limit seed=$1" -c eval
	while IFS='|' read -r _ plain better; do
		set -- "$@" -c "$plain" -c eval -c undo -c "$better" \
		    -c eval -c undo
	done <<END
$(pairs)
END
	"$PARE" "$@" </dev/null >"$doc" 2>/dev/null || {
		echo "seed: $(tail -n 1 "$doc")"
		return 1
	}
	grep '"command":"eval"' "$doc" | sed 's/"value":/\n"value":/; s/$/\n/' |
	    grep -o '^"value":[-0-9.e]*' | sed 's/.*://'
}

printf '%s' "$model, $(basename "$eval"), $limit calib samples, seeds"
echo " ${SEEDS:-1 2 3}: metric in percent, plain then calibrated"
all=$(mktemp)
trap 'rm -f "$doc" "$all"' EXIT
for seed in ${SEEDS:-1 2 3}; do
	run_seed "$seed" | tr '\n' ' ' >>"$all"
	echo >>"$all"
done
awk 'NR == 1 { printf "%-22s %7.2f\n", "as it is", 100 * $1 }' "$all"
i=2
pairs | while IFS='|' read -r what _ _; do
	awk -v i="$i" -v what="$what" '{
		p += $i; x[NR] = $(i + 1); s += $(i + 1)
	} END {
		printf "%-22s %7.2f %7.2f %+7.2f  (", what, 100 * p / NR,
		    100 * s / NR, 100 * (s - p) / NR
		for (k = 1; k <= NR; k++)
			printf "%s%.2f", (k > 1 ? " " : ""), 100 * x[k]
		print ")"
	}' "$all"
	i=$((i + 2))
done

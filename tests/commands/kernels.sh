#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The kernels of every level of instructions come to the same answers, and info
# says which are used. A level that the processor lacks is the best it has.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
reviews=$PARE_SOURCE/samples
[ -f "$reviews/reviews/model.safetensors" ] || exit 77

for level in scalar avx2 avx512 vnni amx auto; do
	cat >"$dir/$level.pare" <<END
set cache off
set kernels $level
open $reviews/reviews
data $reviews/reviews.test.tsv role=eval limit=200
eval
prune weights 60% L*.ffn scope=global by=magnitude
quantize L*.attn bits=8
eval
info
END
	"$PARE" -f "$dir/$level.pare" >"$dir/$level.all" 2>"$dir/$level.err"
	grep -E '^(accuracy|  against)' "$dir/$level.all" >"$dir/$level.out"
	[ "$(wc -l <"$dir/$level.out")" -ge 3 ]
	if ! cmp -s "$dir/scalar.out" "$dir/$level.out"; then
		echo "scalar and $level differ:"
		diff "$dir/scalar.out" "$dir/$level.out" || true
		exit 1
	fi
	grep -qE '^(kernels)? +.*bitmap: ' "$dir/$level.all"
done
grep -qE '^threads .* scalar( |$)' "$dir/scalar.all"

if "$PARE" -c 'set kernels sse9' >"$dir/out" 2>"$dir/err"; then
	echo "an unknown level was taken"
	exit 1
fi
grep -q "sse9" "$dir/err"

# Products of float32 alone, which info says.
"$PARE" -c 'set precision exact' -c "open $reviews/reviews" -c info >"$dir/out"
grep -qE '^kernels .*; exact$' "$dir/out"
"$PARE" -c "open $reviews/reviews" -c info >"$dir/out"
if grep -qE '^kernels .*exact' "$dir/out"; then
	echo "exact without being asked"
	exit 1
fi

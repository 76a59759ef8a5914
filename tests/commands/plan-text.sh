#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# plan and overview for a model that goes on with a text: budgets of bytes, of
# perplexity, of bits per byte and of the next token, foretold and measured, and
# clear words where a unit is of other models.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

model=samples/stories
if [ ! -f samples/stories/model.safetensors ]; then
	"$PARE" -c 'open samples/stories/config.json weights=random seed=1' \
	    -c 'save drawn' >/dev/null
	model=drawn
fi
head -n 12 samples/stories.test.txt >test.txt
head -n 12 samples/stories.calib.txt >calib.txt
fast='using=quantize samples=3'

run() {
	"$PARE" --json $model -d test.txt --data calib=calib.txt "$@" </dev/null
}

# value FILE OBJECT KEY
value() {
	grep -o "\"$2\":{[^}]*}" "$1" | grep -o "\"$3\":[-0-9.e]*" |
	    head -n 1 | sed 's/.*://'
}

# holds WHAT AWK-CONDITION NAME=VALUE...
holds() {
	what=$1 condition=$2
	shift 2
	for pair; do
		case $pair in *=) say "$what: $pair nothing"; return 0 ;; esac
		set -- "$@" -v "$pair"
		shift
	done
	awk "$@" "BEGIN { exit !($condition) }" || say "$what: $condition: $*"
}

# A budget of bytes: kept, and all that counts is told and measured.
run -c "plan bytes<=4x $fast" -c history >did
holds bytes '4 * is <= was && is == told' "was=$(value did start bytes)" \
    "told=$(value did predicted bytes)" "is=$(value did measured bytes)"
grep -q '"metric":"perplexity"' did || say 'not judged by perplexity'
grep -q '"applied":true' did || say 'not applied'
for o in start predicted measured; do
	holds "bits of $o" 'b > 0 && a > 0 && a < 1' \
	    "b=$(value did $o bits_per_byte)" "a=$(value did $o next_token)"
done
# The rise is that of the perplexity, and bits per byte go with it.
holds 'the rise' '(v / w - 1 - d) ^ 2 < 1e-10 &&
    (c / b - log(v) / log(w)) ^ 2 < 1e-6' "v=$(value did measured value)" \
    "w=$(value did measured was)" "d=$(value did measured drop)" \
    "b=$(value did measured was_bits_per_byte)" \
    "c=$(value did measured bits_per_byte)"
run -c "plan bytes<=4x $fast" -c eval >again
grep -q '"recalled":0,' again && say 'measured twice'

# Each unit of a drop keeps within it on the calib text, and less is no smaller.
run -c "plan drop<=2% $fast apply=off" >share
holds 'two percent' 'd <= 0.02' "d=$(value share calib drop)"
run -c "plan drop<=20% $fast apply=off" >loose
holds 'twenty percent' 'd <= 0.2 && b <= a' "d=$(value loose calib drop)" \
    "a=$(value share predicted bytes)" "b=$(value loose predicted bytes)"
run -c "plan drop<=0.01bpb $fast apply=off" >bits
holds 'bits per byte' 'b - a <= 0.010001' \
    "a=$(value bits start bits_per_byte)" "b=$(value bits calib bits_per_byte)"
run -c "plan drop<=0.5pt $fast apply=off" >token
holds 'the next token' 'a - b <= 0.005001' \
    "a=$(value token start next_token)" "b=$(value token calib next_token)"

# As text: the columns that count.
"$PARE" $model -d test.txt --data calib=calib.txt \
    -c "plan drop<=2% $fast" </dev/null >text
has text 'at most 2.00 % more perplexity'
has text 'perplexity +% more +bits/byte +next token'
has text 'measured .* [0-9.]+ %$'

# What cannot be, and what to type.
find_reviews
reviews=$model
model=samples/stories
[ -f samples/stories/model.safetensors ] || model=drawn
head -n 21 samples/reviews.dev.tsv >calib.tsv
status=0
"$PARE" "$reviews" --data calib=calib.tsv -c 'plan drop<=0.02bpb' \
    </dev/null >out 2>err || status=$?
{ [ $status = 1 ] && [ "$(grep -c . err)" = 1 ] &&
    grep -q 'bits per byte are of models.*drop<=1pt' err; } ||
    say "bits of a classifier: $status $(cat err)"
status=0
"$PARE" $model -d test.txt --data calib=calib.txt \
    -c "plan bytes<=8x drop<=0.0001% $fast" </dev/null >out 2>err ||
    status=$?
{ [ $status = 1 ] && grep -q '% of the perplexity.*drop<=[0-9.]*%' err; } ||
    say "too little: $status $(cat err)"

# The table of methods: with perplexity, its interval and the verdicts.
run -c 'overview runs=5' -c history >over
[ "$(grep -o '"method":' over | wc -l)" = 8 ] || say "$(cat over)"
[ "$(grep -o '"perplexity_ratio":' over | wc -l)" -ge 6 ] ||
    say 'no ratios of perplexity'
[ "$(grep -o '"kept":' over | wc -l)" -ge 6 ] || say 'no verdicts'
# Eight bits are as good as none; half of the layers are not.
if [ "$model" = samples/stories ]; then
	head -n 1 over | sed 's/"method":/\n&/g' >rows
	grep '^"method":"quantization, 8 bits"' rows | grep -q '"kept":true' ||
	    say 'eight bits lose much'
	grep '^"method":"distillation"' rows | grep -q '"kept":false' ||
	    say 'half of the layers lose nothing'
fi
[ "$(tail -n 1 over | grep -o '"id":' | wc -l)" = 1 ] ||
    say 'overview added states'
exit $bad

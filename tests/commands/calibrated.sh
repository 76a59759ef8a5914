#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Ops that look at the calib samples, on the sample: each says what it won, is
# refused without samples, leaves the model as it was then, and what it makes is
# the same after save and open and as floats.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

find_reviews
head -n 81 samples/reviews.train.tsv >calib.tsv
head -n 61 samples/reviews.dev.tsv >eval.tsv

i=0
while read -r line; do
	i=$((i + 1))
	"$PARE" --no-state $model --data calib=calib.tsv -c "$line" \
	    </dev/null >"on$i" 2>err || say "$line: $(cat err)"
	tr '\n' ' ' <"on$i" | tr -s ' ' >one
	has one 'output error of 24 matrices [0-9.e+-]+ % (rounded to nearest|by magnitude), [0-9.e+-]+ % now'
	status=0
	"$PARE" --no-state $model -c "$line" -c show </dev/null >out 2>err ||
	    status=$?
	{ [ $status = 1 ] && grep -q 'data FILE role=calib' err; } ||
	    say "$line without samples: $status $(cat err)"
done <<'E2'
prune weights 50% L* by=wanda
prune weights 50% L* by=wanda scope=global
prune weights pattern=2:4 L* by=wanda
prune weights 50% L* method=sparsegpt
prune weights pattern=2:4 L* method=sparsegpt
quantize L* bits=3 method=gptq
quantize L* bits=3 method=awq
quantize L* bits=3 method=awq clip=mse group=16
quantize L* bits=3 clip=mse
quantize L* bits=3 scheme=affine clip=mse bias=correct
quantize L* bits=2 scheme=kmeans weigh=inputs
quantize L* bits=2 scheme=kmeans weigh=fisher
quantize L* bits=2 scheme=kmeans method=gptq
E2
[ $i = 13 ] || say "only $i lines were run"

# No samples are needed, and weights are judged.
"$PARE" --no-state $model -c 'quantize L* bits=3 method=hqq' </dev/null >on
has on 'squared error of 24 matrices'
"$PARE" --no-state $model -c 'quantize L* bits=3 scheme=gobo' </dev/null >on
has on 'of the weights of 24 matrices stay'

# The two forms with floats beside codes: kept, and opened again; as floats for
# others.
for how in scheme=gobo method=awq; do
	rm -rf kept made
	"$PARE" --no-state $model --data calib=calib.tsv -d eval.tsv \
	    -c "quantize L* bits=4 activations=float $how" -c eval \
	    -c 'save kept' -c 'export made format=hf' </dev/null >on ||
	    say "$how is not kept"
	grep '^accuracy' on >was
	[ -s was ] || say "$how has no accuracy"
	for f in kept made; do
		"$PARE" --no-state $f -d eval.tsv -c eval </dev/null |
		    grep '^accuracy' >is || say "$how: $f is not opened"
		cmp was is || say "$how: $f is another model"
	done
done

# Of post-norm layers only v takes scales in.
"$PARE" --no-state $model --data calib=calib.tsv \
    -c 'quantize L* bits=4 method=awq' -c 'show L0 by=tensor' </dev/null >on
tr '\n' ' ' <on | tr -s ' ' >one
has one '[1-4] matrices have their scales in what comes before them'
has one '[0-9]+ matrices keep a scale for each input'
has on 'L0.attn.q.weight .*int4 a8 scaled'
grep -q 'L0.attn.o.weight .*scaled' on && say 'a scale is left of an output'

# A decoder keeps none at all; undo has the floats back, and a saved one is the
# same. It has no biases that could be corrected either.
if [ -f samples/stories/model.safetensors ]; then
	rm -rf kept
	"$PARE" --no-state --json samples/stories \
	    --data calib=samples/stories.calib.txt -c info \
	    -c 'quantize L* bits=4' -c undo \
	    -c 'quantize L* bits=4 method=awq' -c 'show by=tensor' \
	    -c 'save kept' -c 'predict what=hidden ids=1,20,30 out=was.json' \
	    -c undo -c info </dev/null >on
	grep -q 'scaled' on && say 'a decoder keeps scales'
	has on '[0-9]+ matrices have their scales in what comes before them'
	grep '"command": *"info"' on | grep -o '"hash": *"[^"]*"' | sort -u >hashes
	[ "$(wc -l <hashes)" = 1 ] || say 'undo of folded scales leaves something'
	grep -o '"after": *{[^}]*}' on | grep -o '"bytes": *[0-9]*' |
	    sort -u >bytes
	[ "$(wc -l <bytes)" = 1 ] || say "awq takes more: $(cat bytes)"
	"$PARE" --no-state kept -c 'predict what=hidden ids=1,20,30 out=is.json' \
	    </dev/null >/dev/null || say 'folded scales are not opened'
	cmp was.json is.json || say 'folded scales are saved as another model'
	status=0
	"$PARE" --no-state samples/stories \
	    --data calib=samples/stories.calib.txt \
	    -c 'quantize L* bits=3 bias=correct' </dev/null >on 2>err ||
	    status=$?
	{ [ $status = 1 ] && grep -q 'has a bias to correct' err; } ||
	    say "bias without biases: $status $(cat on err)"
fi
exit $bad

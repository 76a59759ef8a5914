#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A low rank beside codes, and beside weights that are shared: what show and the
# notes say, undo, save and open, other formats, and what cannot be done after.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

find_reviews
head -n 81 samples/reviews.train.tsv >calib.tsv
head -n 61 samples/reviews.dev.tsv >eval.tsv

# refused WORD LINE...: the last line fails and says WORD; nothing has changed.
refused() {
	word=$1
	shift
	set -- "$@" end
	lines=
	while [ "$2" != end ]; do
		lines="$lines$1
"
		shift
	done
	status=0
	printf '%s%s\n' "$lines" "$1" | "$PARE" --no-state $model \
	    --data calib=calib.tsv >out 2>err || status=$?
	{ [ $status = 1 ] && grep -q "$word" err; } ||
	    say "$1: $status $(cat err)"
}

"$PARE" --no-state $model -c 'quantize L* bits=2 residual=8' -c 'show L0.q' \
    -c undo -c 'share L* difference=8' -c 'show L1.q' -c 'show L0.q' \
    </dev/null >on
tr '\n' ' ' <on | tr -s ' ' >one
has one 'squared error of 24 matrices [0-9.]+ % rounded to nearest, [0-9.]+ % now'
has on 'L0.attn.q.weight .* int2 a8\+r8'
has on '^state 0: '
has one 'squared error of 18 matrices [0-9.]+ % with shared weights alone, [0-9.]+ % with rank 8 of their own'
# Of its own are 8 x (128 + 128) values of 2 bytes.
has on 'L1.attn.q.weight +2.05 k .* 4.0 KiB .* f32\+r8'
has on 'L0.attn.q.weight +16.4 k .* 64.0 KiB .* f32 '

# By what the outputs lose far less is lost of them.
"$PARE" --no-state $model --data calib=calib.tsv \
    -c 'share L* difference=8 weigh=inputs' </dev/null 2>err | tr '\n' ' ' |
    tr -s ' ' >one
has one 'output error of 18 matrices [0-9.]+ % with shared weights alone, [0-9.]+ % with rank 8 of their own'

# Kept, and opened again; as floats for others.
while read -r line; do
	rm -rf kept made
	"$PARE" --no-state $model --data calib=calib.tsv -d eval.tsv \
	    -c "$line" -c eval -c 'save kept' -c 'export made format=hf' \
	    -c 'export made.gguf format=gguf force=on' </dev/null >on 2>err ||
	    say "$line is not kept: $(cat err)"
	grep '^accuracy' on >was
	[ -s was ] || say "$line has no accuracy"
	for f in kept made; do
		"$PARE" --no-state $f -d eval.tsv -c eval </dev/null |
		    grep '^accuracy' >is || say "$line: $f is not opened"
		cmp was is || say "$line: $f is another model"
	done
done <<'E2'
quantize L* bits=4 activations=float residual=4
quantize L* bits=3 activations=float method=awq residual=4
share L* difference=8
share L* difference=8 to=mean weigh=inputs
E2

# A base that is shared is described once and named; what names no base, or
# itself, is refused. (The last one kept.)
grep -q '"a":"[^"]*.pare.a","b"' kept/pare.json || say 'no base has a name'
own=$(sed -n 's/^ *"\([^"]*\)": {"form":"sum".*/\1/p' kept/pare.json |
    head -n 1)
[ -n "$own" ] || say 'no tensor is a sum'
cp kept/pare.json good
for name in "$own" nothing classifier.weight; do
	sed "s/\"a\":\"[^\"]*\"/\"a\":\"$name\"/" good >kept/pare.json
	status=0
	"$PARE" --no-state kept -c info </dev/null >out 2>err || status=$?
	{ [ $status = 3 ] && grep -q 'tensor' err; } ||
	    say "a base $name: $status $(cat err)"
done

refused 'sparse' 'prune weights 70% L0' 'quantize L0 bits=4 residual=4'
refused 'low rank' 'factorize L0 rank=8' 'quantize L0 bits=4 residual=4'
refused 'gobo' 'quantize L* bits=4 scheme=gobo residual=4'
refused 'cast' 'quantize L* bits=16 residual=4'
refused 'beside' 'quantize L* bits=4 residual=4' 'share L* difference=8'
refused 'two tensors' 'quantize L* bits=4 residual=4' 'factorize L0 rank=4'
refused 'cannot be trained' 'share L* difference=8' 'recover epochs=1'
refused 'packed' 'quantize L* bits=4 residual=4' \
    'prune heads 1 L0 repair=refit'
refused 'shared' 'share L* difference=8' 'quantize L* bits=4 method=gptq'
refused 'are shared' 'share L* difference=8' 'quantize mixed bits=4'
refused 'all there is' 'share L* difference=128'
refused 'heads' 'share L0.h1 to=L0.h0 difference=8'
exit $bad

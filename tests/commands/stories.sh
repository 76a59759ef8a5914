#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A language model from end to end on the second sample (without its weights, on
# weights drawn at random): it foretells held-out stories better than counting
# does, tells one itself, is cut, learns again from text and from its original,
# and what training cannot do it says.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

less() {
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" &&
	    a + 0 < b + 0) }' || say "$3: $1 is not less than $2"
}

# The perplexity that the n-th eval of out tells.
ppl() {
	grep '"command":"eval"' out | sed -n "$1p" |
	    sed -n 's/.*"metric":"perplexity","value":\([0-9.]*\).*/\1/p'
}
model=samples/stories
trained=1
if [ ! -f samples/stories/model.safetensors ]; then
	"$PARE" -c 'open samples/stories/config.json weights=random seed=1' \
	    -c 'save drawn' >/dev/null
	model=drawn
	trained=0
fi
head -n 20 samples/stories.test.txt >few.txt
head -n 30 samples/stories.calib.txt >calib.txt

# ---- it knows how stories go ----
if [ "$trained" = 1 ]; then
	"$PARE" $model -d few.txt >out </dev/null -c eval \
	    -c 'expect perplexity < 2.0' \
	    -c 'generate "Once upon a time" n=200'
	has out '^perplexity '
	# Who it begins with comes again, and the story ends.
	"$PARE" --json $model >doc </dev/null \
	    -c 'generate "Once upon a time there was a shy fox named Mina." n=240'
	has doc '"stop"'
	grep -o 'Mina' doc | wc -l | awk '{ exit !($1 > 2) }' ||
	    say 'the story forgets who it is about'
fi

# ---- cut, and taught again by text and by the original ----
"$PARE" --json $model >out </dev/null -c 'data few.txt' \
    -c 'data calib.txt role=calib' -c eval -c 'prune neurons L* 60%' -c eval \
    -c 'recover epochs=2 lr=1e-3 batch=2 context=128 seed=3' -c eval \
    -c 'undo' -c 'recover epochs=2 lr=1e-3 batch=2 distil=0.5 seed=3' -c eval
if [ "$trained" = 1 ]; then
	less "$(ppl 1)" "$(ppl 2)" 'cutting costs'
fi
less "$(ppl 3)" "$(ppl 2)" 'text brings back'
less "$(ppl 4)" "$(ppl 2)" 'the original brings back'

# ---- what cannot be ----
"$PARE" $model >out 2>&1 </dev/null -c recover && say 'recover without text works'
has out 'role=calib'
"$PARE" samples/reviews/config.json >out 2>&1 </dev/null -c 'recover context=8' &&
    say 'context of a classifier works'
exit $bad

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Tokens pruned from both samples: what is counted, what a state tokenizes and
# says, what is compared with what, and that what was saved and exported opens
# with the same ids and logits. Then lines that cannot be done.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
samples=$PARE_SOURCE/samples
[ -f "$samples/stories/model.safetensors" ] || exit 77
cd "$dir"
head -c 12000 "$samples/stories.calib.txt" >calib.txt
head -c 5000 "$samples/stories.test.txt" >test.txt
head -n 200 "$samples/reviews.train.tsv" >calib.tsv
head -n 120 "$samples/reviews.test.tsv" >test.tsv

fail() {
	echo "$*"
	exit 1
}

# key NAME FILE LINE: a value of one line's document.
key() {
	sed -n "$3{s/.*\"$1\":\\([^,}]*\\).*/\\1/;p;}" "$2"
}

# run OUT MODEL LINE...: one document a line.
run() {
	out=$1
	model=$2
	shift 2
	for line do
		printf '%s\n' "$line"
	done >script
	"$PARE" --no-state --json "$model" -f script >"$out" 2>err ||
	    fail "$(cat err)"
}

# logits FILE: of every row of predict out=FILE.
logits() {
	sed 's/.*"logits":\(\[[^]]*\]\).*/\1/' "$1"
}

# ids FILE: the same of its tokens.
ids() {
	sed 's/.*"ids":\(\[[^]]*\]\).*/\1/' "$1"
}

# ---- a language model ----
say='generate "Once upon a time there was" n=8'
run doc "$samples/stories" 'data test.txt' 'data calib.txt role=calib' \
    'eval context=64' 'prune vocabulary keep=700' 'eval' "$say" 'undo' 'eval' \
    "$say" 'redo' 'eval' 'quantize L*.ffn bits=8' 'eval' 'compare 1 2' \
    'compare 0 2' 'goto 0' 'prune vocabulary' 'eval' 'prune vocabulary 20' \
    'info' 'goto 1' 'eval'
[ "$(key ok doc 4)" = true ] || fail "not pruned"
# 324 rows of 128 values of two bytes.
[ $(($(sed -n '4s/.*"before":{[^}]*"bytes":\([0-9]*\).*/\1/p' doc) - \
    $(sed -n '4s/.*"after":{[^}]*"bytes":\([0-9]*\).*/\1/p' doc))) = \
    $((324 * 128 * 2)) ] || fail "other bytes: $(sed -n 4p doc)"
sed -n 4p doc | grep -q '"note":"700 tokens of 1024 are left; they are' ||
    fail "no note: $(sed -n 4p doc)"
sed -n 5p doc | grep -q '"verdict":"other tokens: [0-9.]* bits per byte' ||
    fail "compared otherwise: $(sed -n 5p doc)"
sed -n 5p doc | grep -q '"delta":null,"fixed":null,"broke":null' ||
    fail "a difference: $(sed -n 5p doc)"
for line in 8 11 22; do
	[ "$(key cached doc $line)" = true ] || fail "not recalled: line $line"
done
[ "$(key value doc 8)" = "$(key value doc 3)" ] || fail "undo: other value"
[ "$(key value doc 11)" = "$(key value doc 5)" ] || fail "redo: other value"
[ "$(key value doc 22)" = "$(key value doc 5)" ] || fail "goto: other value"
# What only rounding changed is compared token by token.
sed -n 13p doc | grep -q '"divergence":{"mean":[0-9.e-]*,.*"vocab":700' ||
    fail "no divergence: $(sed -n 13p doc)"
sed -n 14p doc | grep -q '"ratio":{"value":[01]\.' ||
    fail "not paired: $(sed -n 14p doc)"
sed -n 15p doc | grep -q '"verdict":"other tokens' ||
    fail "paired: $(sed -n 15p doc)"
sed -n 6p doc | grep -q '"original":{"state":0,' || fail "one side"
o6=$(sed -n '6s/.*"original":{[^[]*"ids":\(\[[0-9,]*\]\).*/\1/p' doc)
o9=$(sed -n '9s/.*"current":{[^[]*"ids":\(\[[0-9,]*\]\).*/\1/p' doc)
[ -n "$o6" ] && [ "$o6" = "$o9" ] || fail "the original: '$o6', '$o9'"
# Without a number what calib does not use goes; then so many more.
used=$(key vocab doc 20)
sed -n 17p doc | grep -q "\"note\":\"$((used + 20)) tokens of 1024 are left; \
they are 100 % of those in the calib texts\"" ||
    fail "not what is used: $(sed -n 17p doc)"

ask='text="Once upon a time, a hedgehog sang to 7 bees. Zzz!" what=logits'
run doc "$samples/stories" 'data calib.txt role=calib' \
    'prune vocabulary 30%' "predict $ask out=now.nd" "$say" 'save saved' \
    'export hf hf' 'export gguf m.gguf'
now=$(sed -n '4s/.*"current":{[^[]*"ids":\(\[[0-9,]*\]\).*/\1/p' doc)
for model in saved hf m.gguf; do
	rm -f back.nd
	run doc "$model" "predict $ask out=back.nd" "$say"
	[ "$(ids now.nd)" = "$(ids back.nd)" ] || fail "$model: other ids"
	[ "$(sed -n '2s/.*"current":{[^[]*"ids":\(\[[0-9,]*\]\).*/\1/p' doc)" \
	    = "$now" ] || fail "$model: goes on otherwise"
	[ "$model" != saved ] || [ "$(logits now.nd)" = "$(logits back.nd)" ] ||
	    fail "$model: other logits"
done
# Out of a GGUF file, whose tokenizer lies in its keys, and back.
run doc "$samples/stories" 'export gguf whole.gguf'
run doc whole.gguf 'data calib.txt role=calib' 'prune vocabulary 30%' \
    "predict $ask out=g.nd" 'save g' 'export gguf g.gguf'
[ "$(ids now.nd)" = "$(ids g.nd)" ] || fail "gguf: other ids"
for model in g g.gguf; do
	rm -f back.nd
	run doc "$model" "predict $ask out=back.nd"
	[ "$(ids g.nd)" = "$(ids back.nd)" ] || fail "$model: other ids"
	[ "$(logits g.nd)" = "$(logits back.nd)" ] ||
	    fail "$model: other logits"
done

# A history has the metric's own unit.
"$PARE" --no-state "$samples/stories" -c 'data test.txt' -c eval -c history \
    >out 2>err
tail -n 1 out | grep -q 'as opened .*MiB  *[0-9.]* *$' ||
    fail "history: $(cat out)"

# ---- a classifier ----
run doc "$samples/reviews" 'data test.tsv' 'data calib.tsv role=calib' eval \
    'prune vocabulary' eval 'prune vocabulary 25%' eval \
    'recover epochs=1 distil=0.5' eval 'predict out=now.nd' 'save r' \
    'compare 0 1'
[ "$(key value doc 3)" != null ] && [ "$(key value doc 5)" != null ] ||
    fail "not evaluated"
[ "$(key delta doc 5)" != null ] && [ "$(key fixed doc 5)" != null ] ||
    fail "not compared: $(sed -n 5p doc)"
run doc r 'data test.tsv' 'predict out=back.nd' info
[ "$(ids now.nd)" = "$(ids back.nd)" ] || fail "reviews: other ids"
[ "$(logits now.nd)" = "$(logits back.nd)" ] || fail "reviews: other logits"
[ "$(wc -l <r/vocab.txt)" = "$(key vocab doc 3)" ] || fail "reviews: vocab.txt"

# ---- what cannot be done ----
# refused LINE WORDS: after the samples are loaded, and says so.
refused() {
	if "$PARE" --no-state "$samples/reviews" -c 'data calib.tsv role=calib' \
	    -c "$1" >out 2>err; then
		fail "not refused: $1"
	fi
	grep -q -- "$2" err || fail "$1: $(cat err)"
	[ "$(wc -l <err)" -le 2 ] || fail "$1: $(cat err)"
}
refused 'prune vocabulary keep=339' 'keep: there are 338 tokens to keep'
refused 'prune vocabulary keep=338' 'keep: this would remove no token'
refused 'prune vocabulary keep=3' 'have to stay'
refused 'prune vocabulary 99%' 'amount: .* have to stay'
refused 'prune vocabulary 0' 'amount: this would remove no token'
refused 'prune vocabulary 10% keep=300' 'only one of them'
refused 'prune vocabulary by=order' 'by: without a number'
refused 'prune vocabulary keep=0' 'keep'
"$PARE" --no-state "$samples/reviews" -c 'prune vocabulary 10%' >out 2>err &&
    fail "no calib"
grep -q 'role=calib' err || fail "no calib: $(cat err)"
mkdir bare
cp "$samples/reviews/config.json" "$samples/reviews/model.safetensors" bare
"$PARE" --no-state bare -c 'prune vocabulary 10% by=order' >out 2>err &&
    fail "no tokenizer"
grep -q "prune vocabulary needs the model's tokenizer" err ||
    fail "no tokenizer: $(cat err)"
# A config alone has sizes to tell.
"$PARE" --no-state --json bare/config.json -c 'prune vocabulary 38' >out
grep -q '"after":{"params"' out || fail "no estimate"

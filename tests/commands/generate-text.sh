#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What generate cannot do is said in a line that names it; and a published story,
# where there is one.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tests=$PARE_SOURCE/tests/commands
model="open $tests/tiny-decoder.json weights=random seed=1"

# refused MODEL LINE WORDS: the line fails and its message has the words.
refused() {
	if "$PARE" -c "$1" -c "$2" >"$dir/out" 2>"$dir/err"; then
		echo "not refused: $2"
		exit 1
	fi
	grep -q -- "$3" "$dir/err" || {
		echo "$2: no '$3' in:"
		cat "$dir/err"
		exit 1
	}
}

refused "$model" "generate ids=1,2,3 n=31" "positions for 32"
refused "$model" "generate ids=1,2,3 n=31" "n=30"
refused "$model" "generate ids=1,2,50" "'50' is not a number from 0 to 49"
refused "$model" "generate ids=1,,2" "ids: ''"
refused "$model" "generate ids=-1" "'-1'"
refused "$model" "generate ids=1,2;" "2;"
refused "$model" "generate ids=" "no tokens"
refused "$model" "generate a word" "tokenizer"
refused "$model" "generate a word ids=1" "cannot both"
refused "$model" "generate" "tokenizer"
refused "$model" "generate ids=1 top_p=1.5" "top_p"
refused "$model" "generate ids=1 n=0" "n"
refused "open $tests/tiny.json weights=random" "generate ids=1" \
    "language model"
refused "open $tests/tiny-decoder.json" "generate ids=1" "weights"

stories=${PARE_SHARED:-../shared}/real/models/stories260K
[ -r "$stories/model.safetensors" ] || exit 0
"$PARE" -c "open $stories" -c "generate Once upon a time n=30" >"$dir/out"
tr -s '\n ' '  ' <"$dir/out" | grep -q \
    ', there was a little girl named Lily. She loved to play outside in the'

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The sample is what its generator writes and what its README says: same
# sentences, no sentence in two sets, both labels alike often, a vocabulary of
# the size that the config names, weights of at most 5 MB, and a bag of words
# that scores clearly worse than the model has to.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"
build=${PARE_BUILD:?set PARE_BUILD to the build folder}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0

say() {
	echo "$1"
	status=1
}

"$build/samples/generate" "$dir"
for f in reviews.train.tsv reviews.dev.tsv reviews.test.tsv \
    reviews/vocab.txt; do
	cmp "samples/$f" "$dir/$f" || say "$f is not what the generator writes"
done

twice=$(tail -q -n +2 samples/reviews.*.tsv | cut -f 1 | sort | uniq -d)
[ -z "$twice" ] || say "in the sets twice: $twice"
for f in samples/reviews.*.tsv; do
	p=$(grep -c '	positive$' "$f")
	n=$(grep -c '	negative$' "$f")
	[ "$p" = "$n" ] || say "$f: $p positive, $n negative"
done

words=$(wc -l <samples/reviews/vocab.txt)
grep -q "\"vocab_size\": $words\\b" samples/reviews/config.json ||
    say "vocab.txt has $words pieces, config.json says something else"
size=$(wc -c <samples/reviews/model.safetensors)
[ "$size" -le 5000000 ] || say "model.safetensors has $size bytes"

line=$("$build/samples/bag_of_words" samples/reviews.train.tsv \
    samples/reviews.test.tsv)
echo "$line"
share=$(echo "$line" | sed 's/.*test \([0-9.]*\) %.*/\1/')
awk -v share="$share" 'BEGIN { exit !(share > 40 && share < 65) }' ||
    say "the bag of words gets $share % right"
grep -qF "$share %" samples/README.md ||
    say "samples/README.md does not quote $share % for the bag of words"
exit $status

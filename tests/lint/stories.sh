#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The second sample is what its makers write and what its README says: the same
# text, no story in two sets, pieces learnt from it, as many as the config names,
# at most 4 MB in all, and counts that foretell clearly worse than the model has
# to.
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

line=$("$build/samples/tell_stories" "$dir")
echo "$line"
bits=$(echo "$line" | sed 's/.*: \([0-9.]*\) bits.*/\1/')
grep -qF "$bits" samples/README.md ||
    say "samples/README.md does not quote $bits bits for the choices"
for f in stories.train.txt stories.calib.txt stories.test.txt; do
	cmp "samples/$f" "$dir/$f" || say "$f is not what tell_stories writes"
done
"$build/samples/tell_stories" --first "$dir/first.txt"
[ "$(wc -l <"$dir/first.txt")" -eq 2000 ] ||
    say "the first reader has not 2000 scenes"
twice=$(sort "$dir"/stories.*.txt | uniq -d)
[ -z "$twice" ] || say "in the sets twice: $twice"

pieces=$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' \
    samples/stories/config.json)
"$build/samples/learn_pieces" samples/stories.train.txt "$pieces" \
    "$dir/tokenizer.json" | tee "$dir/said"
grep -q "^$pieces pieces" "$dir/said" ||
    say "there are not $pieces pieces as config.json says"
cmp samples/stories/tokenizer.json "$dir/tokenizer.json" ||
    say "tokenizer.json is not what learn_pieces writes"

size=$(cat samples/stories/* samples/stories.*.txt | wc -c)
[ "$size" -le 4000000 ] || say "model and text have $size bytes"

"$build/samples/count_grams" samples/stories samples/stories.train.txt \
    samples/stories.test.txt | tee "$dir/counts"
for n in $(sed -n 's/.*perplexity \([0-9.]*\),.*/\1/p' "$dir/counts"); do
	grep -qF "| $n |" samples/README.md ||
	    say "samples/README.md does not quote a perplexity of $n"
done
tail -n 1 "$dir/counts" | awk '{ exit !($4 + 0 > 2) }' ||
    say "the counts leave nothing to learn"
exit $status

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The main job from end to end on the sample model (without its weights, on
# weights drawn at random): see, cut, undo, measure, save, open again, replay.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

# The hash in the document of the last line.
hash_of() {
	tail -n 1 "$1" | sed -n 's/.*"hash":"\([0-9a-f]*\)".*/\1/p'
}

same() {
	[ -n "$1" ] && [ "$1" = "$2" ] || say "$3: '$1' and '$2'"
}

find_reviews
head -n 121 samples/reviews.dev.tsv >few.tsv

"$PARE" $model -d few.tsv >out 2>err </dev/null -c eval \
    -c 'prune heads 25%' -c eval -c 'quantize L*.ffn bits=8 group=64' \
    -c eval -c 'undo 2' -c history -c 'compare original 2' \
    -c 'predict text="the hero was not funny"'
# No progress where nobody watches.
if LC_ALL=C grep -q "$(printf '[\r\033]')" err; then
	say 'standard error has progress'
fi
has out '^accuracy [0-9.]+ % \(95 % interval [0-9.]+ to [0-9.]+, n 120\)'
has out '^  against the original: '
has out '^state 1: .* parameters, .* MiB, MACs -'
has out '^state 0: .* \(recalled\); as opened'
has out '^\* 0 +as opened .* %'

# What was measured first is recalled, not measured again.
"$PARE" $model --json -d few.tsv >out </dev/null -c eval -c 'prune heads 25%' \
    -c undo -c eval
has out '"command":"undo".*"cached":true'
tail -n 1 out | grep -q '"cached":true' || say 'eval was not recalled'

# The same from the file and from the recipe.
"$PARE" $model --json >out </dev/null -c 'prune heads 25%' \
    -c 'quantize all bits=4 group=32' -c 'save cut' -c 'recipe cut.pare' \
    -c info
first=$(hash_of out)
"$PARE" cut --json -c info >out </dev/null
same "$first" "$(hash_of out)" 'saved and opened again'
"$PARE" $model --json -f cut.pare -c info >out </dev/null
same "$first" "$(hash_of out)" 'the recipe'
"$PARE" $model --json >out </dev/null -c info -c 'prune heads 25%' \
    -c 'quantize all bits=4' -c 'undo 2' -c info
same "$(head -n 1 out | sed 's/.*"hash":"\([0-9a-f]*\)".*/\1/')" \
    "$(hash_of out)" 'undone'

# Claimed bytes are the bytes on the disk, within 1 %.
claimed=$("$PARE" cut --json -c info </dev/null |
    sed 's/.*"bytes":\([0-9]*\),"labels.*/\1/')
weighs=$(wc -c <cut/model.safetensors)
awk -v a="$claimed" -v b="$weighs" 'BEGIN {
	exit !(a > 0 && b >= a && b <= 1.01 * a + 16384)
}' || say "the table says $claimed bytes, the file has $weighs"

# The same seed gives the same model.
for i in 1 2; do
	"$PARE" $model --json --seed 7 >out.$i </dev/null \
	    -c 'prune neurons 30% by=random'
done
same "$(hash_of out.1)" "$(hash_of out.2)" 'the same seed'
exit $bad

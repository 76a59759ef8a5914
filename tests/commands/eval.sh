#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# eval gives the same numbers whenever it is asked: in two runs, on any number of
# threads, with the cache of layers and without; and it recalls across runs what
# it measured, unless told not to.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

find_reviews
head -n 121 samples/reviews.dev.tsv >few.tsv

# What does not hang on the clock.
timeless() {
	sed -E 's/"(seconds|tokens_per_second)":[^,]*,//g'
}

# measure OUT [ARGUMENT...]
measure() {
	out=$1
	shift
	"$PARE" "$@" $model --json -d few.tsv -c eval -c 'prune heads L2.h1' \
	    -c eval -c 'eval metric=f1' -c 'eval stop=ci:5 fresh=on' \
	    -c 'eval stop=decided fresh=on' </dev/null >raw
	timeless <raw >"$out"
}

# expect FILE LINE PATTERN
expect() {
	sed -n "$2p" "$1" | grep -Eq -e "$3" || {
		say "$1:$2 is not like $3:"
		sed -n "$2p" "$1"
	}
}

measure one --no-state --threads 1
measure two --no-state --threads 1
measure three --no-state --threads 3
[ ! -e state ] || say '--no-state made a state folder'
cmp one two || say 'two runs differ'
cmp one three || say 'threads make a difference'
expect one 1 '"from_layer":0,.*"cached":false'
expect one 3 '"from_layer":2,.*"cached":false'
expect one 3 '"total":120,"partial":false'
expect one 3 '"against":0,"delta"'
expect one 4 '"metric":"f1".*"cached":true'
expect one 5 '"total":120,"partial":true'
expect one 6 '"total":120,"partial":true.*"verdict":"within noise'

# Without the cache of layers the numbers are the same.
"$PARE" --no-state $model --json -d few.tsv -c 'set cache off' \
    -c 'prune heads L2.h1' -c eval </dev/null | timeless >raw
grep -o '"value":.*"from_layer"' raw >plain
sed -n 3p one | grep -o '"value":.*"from_layer"' >cached
cmp plain cached || say 'the cache of layers makes a difference'

# A run recalls what another one measured; the numbers are those.
measure first
measure second
expect first 1 '"cached":false'
expect second 1 '"cached":true'
expect second 3 '"cached":true'
expect second 4 '"metric":"f1".*"cached":true'
expect second 5 '"partial":true.*"cached":false'
for n in 1 3 4 5 6; do
	sed -n "${n}p" first | grep -o '"value":.*"from_layer"' >a
	sed -n "${n}p" second | grep -o '"value":.*"from_layer"' >b
	cmp a b || say "line $n was recalled as something else"
done
"$PARE" $model --json -d few.tsv -c 'eval fresh=on' -c 'set cache off' \
    -c eval </dev/null >raw
expect raw 1 '"cached":false'
expect raw 3 '"cached":false'
[ -z "$(find state/pare/results -type f ! -perm 600)" ] ||
    say 'results can be read by others'

# Files that are not as they should be say nothing and do no harm.
for f in state/pare/results/*; do
	echo 'something else' >"$f"
done
measure third 2>err
[ ! -s err ] || say "damaged results were spoken of: $(cat err)"
cmp first third || say 'damaged results made a difference'

"$PARE" $model -d few.tsv -c 'eval stop=ci:5 fresh=on' </dev/null >text
grep -Eq 'n [0-9]+ of 120: partial\)' text || say "$(cat text)"
status=0
"$PARE" $model -d few.tsv -c 'eval stop=soon' </dev/null 2>err || status=$?
[ $status = 1 ] && grep -q 'ci:1.0' err || say "stop=soon: $status $(cat err)"
exit $bad

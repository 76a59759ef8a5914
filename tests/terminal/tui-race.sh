#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Ctrl-C at random moments around the end of a change and of the evaluation
# that follows it: the workbench stays, and each change is there once or not at
# all. PARE_RACES: how many moments; the seed is fixed.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

rounds=${PARE_RACES:-40}
head -n 121 "$scratch/samples/reviews.test.tsv" >"$scratch/few.tsv"

now() {
	date +%s%N
}

start 100 30
type '"$PARE" samples/reviews --data few.tsv'
await '^reviews .*accuracy [0-9]'
await '\? help  q quit'

# How long a change and its evaluation take here, in seconds.
begin=$(now)
type ':factorize all energy=0.8'
await 'state 1 of 2 '
await '^reviews .* accuracy [0-9]|^accuracy [0-9]'
took=$(($(now) - begin))

awk -v n="$rounds" -v t="$took" 'BEGIN {
	srand(7)
	for (i = 0; i < n; i++)
		printf "%.4f\n", rand() * t / 1e9 * 1.2
}' >"$scratch/moments"

i=1000
while read -r moment; do
	i=$((i + 1))
	type ':goto 0'
	await '^reviews .* state 0 '
	t send-keys -t t -l ":factorize all energy=0.8$i"
	t send-keys -t t Enter
	sleep "$moment"
	enter C-c
	# It answers, in the mode that it was in.
	type ":mark r$i"
	await "^reviews .* state [0-9]+ \(r$i\) of " ||
		fail "no answer after Ctrl-C at $moment s"
done <"$scratch/moments"

[ -n "$(pare_pid)" ] || fail 'Ctrl-C ended the program'
states=$(screen | sed -n 's/^reviews .* state [0-9]* ([^)]*) of \([0-9]*\).*/\1/p')
cat "$state"/journal/*.ndjson >"$scratch/journal"
grep -o 'factorize all energy=0.8[0-9]*' "$scratch/journal" >"$scratch/done" ||
	true
made=$(wc -l <"$scratch/done")
twice=$(sort "$scratch/done" | uniq -d)
[ -z "$twice" ] || fail "made twice: $twice"
[ "$states" -eq $((made + 1)) ] ||
	fail "$states states, but the journal has $made changes"
echo "$rounds moments within $((took / 1000000)) ms: $made of $((rounds + 1)) changes were made"

# It goes on as if nothing had been.
type ':goto 0'
await '^reviews .*state 0 '
type ':prune heads L1.h0'
await "^reviews .*state $states of $((states + 1)) "
await '^reviews .* accuracy [0-9]|^accuracy [0-9]'

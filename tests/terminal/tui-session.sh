#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Undo, redo, branches, errors; and every number is the one of the commands.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

# field NAME LINE-NUMBER: of the JSON of a batch run.
field() {
	sed -n "$2p" "$scratch/json" | grep -o "\"$1\":[^,}]*" | head -n 1 |
	    cut -d : -f 2
}

cd "$scratch"
"$PARE" --json --no-state samples/reviews --data samples/reviews.test.tsv \
    -c eval -c 'prune heads L1.h0' -c eval -c info -c history \
    >"$scratch/json" 2>/dev/null ||
	fail 'the batch run failed'
accuracy=$(field value 3 | awk '{ printf "%.1f", 100 * $1 }')
fixed=$(field fixed 3)
broke=$(field broke 3)
params=$(field params 4 | awk '{ printf "%.0f k", $1 / 1000 }')
bytes=$(field bytes 4 | awk '{ printf "%.1f MiB", $1 / 1048576 }')
macs=$(field macs_per_token 4 | awk '{ printf "%.0f k", $1 / 1000 }')
hash=$(field hash 4 | tr -d '"')

start 120 36
type '"$PARE" samples/reviews --data samples/reviews.test.tsv'
await 'accuracy [0-9.]+ %'
enter H
await 'L2 norm of a head'
enter j x
await 'state 1 of 2'
await '^prune heads L1.h0|prune heads L1.h0:'
await "accuracy $accuracy % .*$fixed fixed $broke broke"
await "^params $params \(-[0-9.]+ %\)  $bytes \(.*MACs $macs \("
await '^L1 \[××\].* 3/4'
type ':info'
await "hash +$hash"
enter q

# u and R, to the end and beyond.
enter u
await '^reviews .*state 0 of 2'
await '^L1 \[[^×]*\].* 4/4'
enter u
await 'nothing to undo|no .*undo|original'
enter R
await '^reviews .*state 1 of 2'
await "accuracy $accuracy %"
enter R
await 'nothing to redo|no .*redo'

# Another branch beside it; both stay, and both have their results.
enter u
await '^reviews .*state 0 of 2'
type ':prune ffn L2'
await '^reviews .*state 2 of 3'
await '[0-9] fixed [0-9]+ broke'
enter y
await '─1 prune heads L1.h0'
await '─2 prune ffn L2'
await "$bytes .* $accuracy %"
type ':goto 1'
await '^reviews .*state 1 of 3  accuracy '"$accuracy"
await '^●.*1 prune heads'
enter Escape
await 'L2 norm of a head'

# A refused command says what was wrong, and changes nothing.
type ':quantize L0 bits=77'
await 'bits.*77|77.*bits'
await '^reviews .*state 1 of 3'
enter ':' Up
await '^:quantize L0 bits=77'
enter Escape
n=0
while screen | grep -q '^:quantize'; do
	n=$((n + 1))
	[ $n -lt "$LIMIT" ] || fail 'Esc did not close the prompt'
	sleep 0.05
done

# Pruned cells come back by the same key.
await '^L1 \[××\].* 3/4'
enter x
await '^reviews .*state 0 of 3'
enter Q
await 'shell\$$'

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A real model, where it is present: the numbers of the screen are those of the
# commands, before and after a head is pruned and while it is evaluated.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

: "${PARE_SHARED:=$PARE_SOURCE/../shared}"
real=$PARE_SHARED/real
[ -d "$real/models/sst2-bert" ] || {
	echo "sst2-bert is not here"
	exit 77
}
ln -s "$(cd "$real" && pwd)" "$scratch/real"
cd "$scratch"
head -n 201 real/data/sst2.dev.tsv >dev.tsv

field() {
	sed -n "$2p" json | grep -o "\"$1\":[^,}]*" | head -n 1 | cut -d : -f 2
}

percent() {
	awk -v x="$1" 'BEGIN { printf "%.1f", 100 * x }'
}

"$PARE" --json --no-state real/models/sst2-bert --data dev.tsv \
    -c eval -c 'prune heads L2.h3' -c eval >json 2>/dev/null ||
	fail 'the batch run failed'

start 110 34
type '"$PARE" --no-state real/models/sst2-bert --data dev.tsv'
await '^sst2-bert  state 0 of 1'
enter H
await 'L2 norm of a head'
await "accuracy $(percent "$(field value 1)") %"
enter j j l l l
await '^L2 .*\[..\].* 8/8'
await '│ L2.h3 '
enter x
await '^L2 .*\[××\].* 7/8'
await "state 1 of 2  accuracy $(percent "$(field value 3)") % .*$(
    field fixed 3) fixed $(field broke 3) broke"
# Back at once, for that state is known; and the head is where it was.
enter x
await "state 0 of 2  accuracy $(percent "$(field value 1)") %"
await '^L2 .*\[[^×]*\].* 8/8'
enter Q
await 'shell\$$'

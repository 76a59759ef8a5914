#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Without news nothing is computed and nothing is written.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

# What the process has used, in hundredths of a second.
ticks() {
	sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'
}

# The voluntary and involuntary switches of all its threads: wake-ups.
switches() {
	cat "/proc/$pid"/task/*/status |
	    awk '/ctxt_switches/ { n += $2 } END { print n }'
}

# Until a second passes without work.
settle() {
	n=0
	was=-1
	while [ "$(ticks)" != "$was" ]; do
		was=$(ticks)
		n=$((n + 1))
		[ $n -lt 20 ] || fail 'it does not come to rest'
		sleep 0.5
	done
}

start 100 30
type '"$PARE" --no-state samples/reviews --data samples/reviews.test.tsv'
await '^reviews .*accuracy [0-9.]+ % \([0-9.]+-[0-9.]+\)'
enter H
await 'L2 norm of a head'
pid=$(pare_pid)
settle

t pipe-pane -t t "cat >>'$scratch/bytes'"
before=$(ticks)
wakes=$(switches)
sleep 3
used=$(($(ticks) - before))
wakes=$(($(switches) - wakes))
t pipe-pane -t t
[ "$used" -le 2 ] || fail "idle for 3 s used $used hundredths of a second"
[ "$wakes" -le 5 ] || fail "idle for 3 s woke up $wakes times"
[ ! -s "$scratch/bytes" ] || fail 'something was written while idle'
echo "idle: $used ticks, $wakes wake-ups in 3 s"

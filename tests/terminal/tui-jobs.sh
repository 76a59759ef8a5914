#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Keys are answered while the engine works; Ctrl-C stops the work and changes
# nothing, however often; Ctrl-Z and fg in between.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

# Long enough for any machine: the rows of the test set many times.
head -n 1 "$scratch/samples/reviews.test.tsv" >"$scratch/many.tsv"
i=0
while [ $i -lt 100 ]; do
	tail -n +2 "$scratch/samples/reviews.test.tsv" >>"$scratch/many.tsv"
	i=$((i + 1))
done

start 110 30
type '"$PARE" --no-state samples/reviews --data many.tsv'
await 'accuracy ~[0-9.]+ % \([0-9.]+-[0-9.]+, partial [0-9]+/100000\)'

# The selection moves and views change meanwhile.
enter j j
await '│ L1  layer 2 of 4'
enter H
await 'L2 norm of a head'
await 'partial [0-9]+/100000'
enter Escape
await '^module '
await 'left|ETA'

# Stopped: no result is stored, and it stays stopped.
enter C-c
await 'accuracy \?'
await 'state 0 of 1'
await '│ L1.h0 '
enter e
await 'partial [0-9]+/100000'
enter C-c
enter C-c
enter C-c
await 'accuracy \?'
enter C-c C-c
await 'press q to quit'
[ -n "$(pare_pid)" ] || fail 'Ctrl-C left'

# A change starts over, for the new state.
enter ':' 'prune heads L1.h0' Enter
await 'state 1 of 2 .*partial [0-9]+/100000'
# Suspended and back: it goes on.
tty=$(t display-message -p -t t '#{pane_tty}')
enter C-z
await 'shell\$$'
for mode in icanon echo isig opost; do
	stty -a -F "$tty" | grep -Eq "(^|[ ;])$mode([ ;]|\$)" ||
		fail "$mode is off after Ctrl-Z"
done
[ "$(t display-message -p -t t '#{alternate_on} #{cursor_flag}')" = '0 1' ] ||
	fail 'the alternate screen is still on after Ctrl-Z'
type fg
await 'state 1 of 2 .*partial [0-9]+/100000'
n=$(screen | sed -n 's:.*partial \([0-9]*\)/.*:\1:p')
resize 120 32
i=0
while :; do
	m=$(screen | sed -n 's:.*partial \([0-9]*\)/.*:\1:p')
	[ "${m:-0}" -le "$n" ] || break
	i=$((i + 1))
	[ $i -lt "$LIMIT" ] || fail 'the evaluation stands still after fg'
	sleep 0.05
done

# A line that runs long is stopped as well, and changes nothing.
enter C-c
await 'accuracy \?'
type ':latency runs=100000 batch=4'
await 'latency runs=100000'
enter j
await '[0-9] of [0-9]+|%'
enter C-c
await '[Cc]ancel'
await 'state 1 of 2'
enter Q
await 'Quit\? y/n'
enter y
await 'shell\$$'

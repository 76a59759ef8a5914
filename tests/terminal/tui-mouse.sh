#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The mouse: the terminal's own until `set mouse on`, then it selects, scrolls
# and presses the hints; given back whenever the screen is.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

# The terminal reports it: 1.
await_mouse() {
	n=0
	while [ "$(t display-message -p -t t '#{mouse_any_flag}')" != "$1" ]; do
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || fail "the mouse is not $1 $2"
		sleep 0.05
	done
}

# mouse BUTTON COLUMN ROW, from 1, as the terminal says it: pressed, let go.
mouse() {
	t send-keys -t t -l "$(printf '\033[<%d;%d;%dM\033[<%d;%d;%dm' \
	    "$1" "$2" "$3" "$1" "$2" "$3")"
}

# The row, from 1, of the first line that matches.
row_of() {
	screen | grep -En -e "$1" | head -n 1 | cut -d : -f 1
}

await_detail() {
	await "│ $1( |$)"
}

start 100 30
type '"$PARE" --no-state samples/reviews'
await '^reviews  state 0 of 1'
await '\? help  q quit'
await_mouse 0 'at first'
type ':set mouse on'
await_mouse 1 'after set mouse on'

# A row, the wheel, the other pane, a key of the bar.
mouse 0 5 "$(row_of '^. L2 ')"
await_detail 'L2  layer 3 of 4'
mouse 0 5 "$(row_of '^. emb ')"
await_detail emb
mouse 65 5 6
await_detail 'L2  layer 3 of 4'
mouse 64 5 6
await_detail emb
mouse 0 90 6
mouse 0 5 "$(row_of '^. L0 ')"
await_detail 'L0  layer 1 of 4'
mouse 0 3 30
await '^─ Keys: Modules'
mouse 65 5 10
await '^─ Keys: Modules .* 4-'
# Opens the prompt; that the button is let go is not typed into it.
mouse 0 11 30
await '^:$'
sleep 0.2
await '^:$'
enter Escape
await '^q back  : command'
mouse 0 2 30
await '^module '
# A cell of the map.
enter H
await 'L2 norm of a head'
mouse 0 9 "$(row_of '^L1 ')"
await_detail 'L1.h1  attention'
enter Escape
await '^module '

# What is reported while a line is typed would be typed into it.
enter ':'
await '^:$'
await_mouse 0 'in the prompt'
enter Escape
await_mouse 1 'after the prompt'

# Given back when the shell gets the terminal, and taken again.
enter C-z
await 'shell\$$'
await_mouse 0 'after Ctrl-Z'
type fg
await '^module '
await_mouse 1 'after fg'
type ':set mouse off'
await_mouse 0 'after set mouse off'
type ':set mouse on'
await_mouse 1 'again'
enter q
await 'shell\$$'
await_mouse 0 'after the end'

# Also when it crashes, in the prompt or not.
for keys in j ':'; do
	type 'clear; "$PARE" --no-state tiny.json'
	await '^tiny  state 0 of 1'
	type ':set mouse on'
	await_mouse 1 'before the crash'
	enter "$keys"
	kill -SEGV "$(pare_pid)"
	await 'shell\$$'
	await_mouse 0 'after a crash'
done

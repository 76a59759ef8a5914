#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The full screen comes up, tells its keys, has a prompt, and mends itself.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 100 50
type '"$PARE" --no-state samples/reviews'
await '^reviews  state 0 of 1'
await '\? help  q quit'
[ "$(t display-message -p -t t '#{alternate_on} #{cursor_flag} #{mouse_any_flag}')" \
    = '1 0 0' ] || fail 'no alternate screen, or a cursor, or a mouse'

# await_gone PATTERN: until no line matches.
await_gone() {
	n=0
	while screen | grep -Eq -e "$1"; do
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || fail "this stayed: $1"
		sleep 0.05
	done
}

# Moving keeps the selection, folding opens and closes.
# The heading of the detail pane.
await_detail() {
	await "│ $1( |$)"
}
enter j j
await_detail 'L1  layer 2 of 4'
enter Enter
await '▾ L1 '
enter Down Down
await_detail 'L1.ffn'
enter G
await_detail head
enter g
await_detail emb

# Keys as terminals send them.
enter NPage
await_detail head
enter PPage
await_detail emb
enter End
await_detail head
enter Home
await_detail emb
enter Tab
enter BTab
enter j
await_detail 'L0  layer 1 of 4'
enter g
for key in F2:'L2 norm of a head' F3:'^State +1|as opened' \
    F4:'no samples are loaded' F5:'^Apply to'; do
	enter "${key%%:*}"
	await "${key#*:}"
	enter Escape
	await '^module '
done
# A sequence that means nothing does nothing.
enter g
await_detail emb
t send-keys -t t -l "$(printf '\033[99;5~')"
enter j
await_detail 'L0  layer 1 of 4'
enter g

# ? tells the keys of the view: every one that the table has for all views.
enter '?'
await '^─ Keys: Modules'
for key in '\? F1 +the keys of this view' '\^L +draw the screen again' \
    'a F5 +apply an op' 'u +undo' 'R \^R +redo' 'e F6 +evaluate' \
    'b +measure latency' ': +type a command' 's +sort by the next column' \
    't +tree or flat list'; do
	await "^ $key"
done
for key in '?' q Escape; do
	enter "$key"
	await '^module '
	enter '?'
	await '^─ Keys: Modules'
done
enter F1
await '^module '
# The help of another view tells other keys.
enter H
await 'L2 norm of a head'
enter '?'
await '^─ Keys: Heads'
await '^ s +shade by another measure'
enter Escape
await 'L2 norm of a head'
enter Escape
await '^module '

# The bar names what can be done.
for hint in 'x prune' 'a apply' 'H heads' 'y history'; do
	await "  $hint"
done

# The prompt completes, and Esc and Ctrl-C leave it clean.
enter ':'
await '^:'
enter 'hist' Tab
await '^:history'
enter Escape
await_gone '^:'
enter ':'
await '^:$'
enter 'prune heads L0.h1' C-c
await '^canceled'
type ':prnue heads L0.h1'
await 'there is no command .prnue.'
enter ':' Up
await '^:prnue heads L0.h1'
resize 80 24
await '^:prnue heads L0.h1'
# A search that was given up runs nothing.
enter C-c
await '^canceled'
enter ':'
await '^:$'
enter C-r 'prnue'
await 'i-search.*prnue heads L0.h1'
enter C-c
await '^canceled'
enter ':'
await '^:$'
enter Enter
await_gone '^:'
if screen | grep -q 'there is no command'; then
	fail 'what was searched for ran'
fi
enter ':'
await '^:$'
enter 'undo' Enter
await 'there is nothing to undo|nothing'
await '^reviews .*state 0 of 1'
resize 100 50

# Long output has a pane of its own.
type ':help'
await 'q back'
enter q
await '^module '

# What others write is gone after Ctrl-L.
clean=$(screen)
printf '\033[5;5Hjunk\033[9;1Hjunkjunk' \
    >"$(t display-message -p -t t '#{pane_tty}')"
await '^junkjunk'
enter C-l
await_gone junk
[ "$(screen)" = "$clean" ] || fail 'the screen differs after Ctrl-L'

# Nothing changed: q leaves at once.
enter q
await 'shell\$$'
type 'echo status $?'
await '^status 0'
[ "$(t display-message -p -t t '#{alternate_on} #{cursor_flag}')" = '0 1' ] ||
	fail 'the terminal is not as it was'

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Colour, characters and terminals of all kinds; names from files cannot reach
# the terminal.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 90 28
styled() {
	t capture-pane -e -p -t t
}

# The sequences that set a colour.
colours() {
	styled | grep -Eo "$(printf '\033')\\[[0-9;]*m" |
	    grep -Ec '\[(.*;)?(3[0-8]|4[0-8]|9[0-7])(;|m)' || true
}

leave() {
	enter Q
	await 'shell\$$'
	fresh
	await '^shell\$$'
}

# run ENVIRONMENT... ARGUMENTS: the workbench with a pruned head, in the map.
run() {
	type "env $* --no-state tiny.json -I -c 'prune heads L1.h2'"
	await '^tiny .*state 1 of 2'
	enter H
	await '^L2 '
	await '\? help'
}

leave_changed() {
	enter Q
	await 'Quit\? y/n'
	enter y
	await '^shell\$'
	fresh
	await '^shell\$$'
}

run '"$PARE"'
[ "$(colours)" -gt 0 ] || fail 'no colour'
leave_changed
run NO_COLOR=1 '"$PARE"'
[ "$(colours)" -eq 0 ] || fail 'NO_COLOR has colours'
styled | grep -q "$(printf '\033')\\[[0-9;]*7m" || fail 'no selection'
screen | grep -q '×' || fail 'the pruned head has no sign'
leave_changed
run NO_COLOR= '"$PARE"'
[ "$(colours)" -gt 0 ] || fail 'an empty NO_COLOR counts'
leave_changed
run NO_COLOR=1 '"$PARE" --color=always'
[ "$(colours)" -gt 0 ] || fail '--color=always does not win'
leave_changed

# Asked for in a session that began without, and taken back.
run NO_COLOR=1 '"$PARE"'
[ "$(colours)" -eq 0 ] || fail 'NO_COLOR has colours'
await_colours() {
	n=0
	while :; do
		count=$(colours)
		[ "$count" -eq 0 ] || [ "$1" = 0 ] || break
		[ "$count" -ne 0 ] || [ "$1" != 0 ] || break
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || fail "$count colours after $2"
		sleep 0.05
	done
}
type ':set color always'
await_colours 1 'set color always'
type ':set color never'
await_colours 0 'set color never'
type ':set color always'
await_colours 1 'set color always'
type ':set theme mono'
await_colours 0 'set theme mono'
type ':set theme default'
await_colours 1 'set theme default'
type ':set color auto'
await_colours 0 'set color auto with NO_COLOR'
leave_changed
type 'NO_COLOR=1 "$PARE" --no-state --repl tiny.json'
await '^pare>'
type 'show'
await '^total'
[ "$(colours)" -eq 0 ] || fail 'NO_COLOR has colours in the prompt'
type 'set color always'
type 'show by=kind'
await 'attention'
await_colours 1 'set color always in the prompt'
type quit
await 'shell\$$'
fresh
await '^shell\$$'

# ASCII where asked, or where the locale says so.
for how in '"$PARE" --ascii' 'LC_ALL=C "$PARE"'; do
	run "$how"
	for view in 'H:norm of a head' 'y:^State 1' 'p:accuracy against' \
	    'v:no samples' '?:Keys: Samples' 'q:no samples'; do
		enter "${view%%:*}"
		await "${view#*:}"
		if screen | LC_ALL=C grep -q '[^ -~]'; then
			fail "$how: not only ASCII in ${view%%:*}"
		fi
	done
	leave_changed
done

# Terminals with little, and with nothing.
for term in vt100 linux xterm-256color; do
	run "TERM=$term" '"$PARE"'
	leave_changed
done
# Without another screen the picture stays, and the shell goes on below it, not in
# the middle of the last lines.
for key in q C-z; do
	type 'TERM=vt100 "$PARE" --no-state tiny.json'
	await '^tiny .*state 0 of 1'
	await '\? help  q quit'
	enter "$key"
	await 'shell\$$'
	if screen | grep -q '? help'; then
		fail "the hints are still there after $key"
	fi
	screen | grep -q '^params 8.35 k' || fail 'the picture is gone'
	[ "$key" = q ] || {
		type fg
		await '\? help  q quit'
		kill -SEGV "$(pare_pid)"
		await 'shell\$$'
		if screen | grep -q '? help'; then
			fail 'the hints are still there after a crash'
		fi
	}
	fresh
	await '^shell\$$'
done
type 'TERM=dumb "$PARE" --no-state tiny.json'
await '^pare>'
[ "$(t display-message -p -t t '#{alternate_on}')" = 0 ] ||
	fail 'a dumb terminal got an alternate screen'
type quit
await 'shell\$$'
fresh
await '^shell\$$'

# A name with control characters in it: shown, not sent.
evil="$scratch/a$(printf '\033]2;evil\007\033[2J')b"
mkdir "$evil"
cp "$scratch/tiny.json" "$evil/config.json"
title=$(t display-message -p -t t '#{pane_title}')
type '"$PARE" --no-state a*b'
await 'BERT, 3 layers'
await '\? help'
[ "$(t display-message -p -t t '#{pane_title}')" = "$title" ] ||
	fail 'a file name reached the terminal'
leave

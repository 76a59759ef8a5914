#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# However the program ends, the terminal is as it was, and the journal is there.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

gone() {
	n=0
	while [ -e "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status" \
	    2>/dev/null; do
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || fail "process $1 is still there"
		sleep 0.05
	done
}

tty_is_sane() {
	tty=$(t display-message -p -t t '#{pane_tty}')
	for mode in icanon echo isig opost; do
		stty -a -F "$tty" | grep -Eq "(^|[ ;])$mode([ ;]|\$)" ||
			fail "$mode is off after $1"
	done
	[ "$(t display-message -p -t t '#{alternate_on} #{cursor_flag}')" \
	    = '0 1' ] || fail "the alternate screen is still on after $1"
}

# Until the server is gone as well: a new one cannot start before.
kill_server() {
	server=$(t display-message -p '#{pid}')
	t kill-server
	gone "$server"
}

run() {
	type 'clear; "$PARE" tiny.json'
	await '^tiny  state 0 of 1'
	await '\? help'
	enter ':' 'prune heads L1.h2' Enter
	await '^tiny .*state 1 of 2'
	pid=$(pare_pid)
}

start 90 26
for signal in TERM HUP SEGV ABRT; do
	run
	kill -"$signal" "$pid"
	gone "$pid"
	await 'shell\$$'
	tty_is_sane "$signal"
	grep -rq 'prune heads L1.h2' "$state/journal" ||
		fail "no journal after $signal"
	rm -r "$state/journal"
done

run
kill -KILL "$pid"
await 'Killed'
# A prompt is there already: wait for a word that only the repaired shell says.
enter 'stty sane; tput rmcup; tput cnorm; clear; echo repaired' C-j
await '^repaired$'
await '^shell\$$'

# The next start offers what was cut short, and takes it up.
type 'clear; "$PARE" tiny.json'
await 'Type "resume" to take up a session'
type ':resume'
await '^tiny .*state 1 of 2'
enter Q
await 'Quit\? y/n'
enter y
await 'shell\$$'

# In the background it stays stopped and leaves the terminal to the shell.
run
enter C-z
await 'shell\$$'
type 'bg; echo there'
await '^there'
n=0
until grep -q '^State:.*T' "/proc/$pid/status"; do
	n=$((n + 1))
	[ $n -lt "$LIMIT" ] || fail 'it runs in the background'
	sleep 0.05
done
sleep 0.3
grep -q '^State:.*T' "/proc/$pid/status" || fail 'it did not stay stopped'
type clear
await '^shell\$$'
tty_is_sane bg
type fg
await '^tiny .*state 1 of 2'
enter ':' 'quit!' Enter
await 'shell\$$'

# The terminal goes away, even where SIGHUP is ignored.
run
gone_pid=$pid
kill_server
gone "$gone_pid"
start 90 26
type "trap '' HUP"
run
gone_pid=$pid
kill_server
gone "$gone_pid"
start 20 5

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Pasted text, from terminals that mark it and from those that do not: lines run
# one by one in the prompt, and none of it acts as a key.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

# paste TEXT [-p]: with marks, where the program asked for them.
paste() {
	printf '%b' "$1" | t load-buffer -
	# shellcheck disable=SC2086
	t paste-buffer -d ${2-} -t t
}

await_gone() {
	n=0
	while screen | grep -Eq -e "$1"; do
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || fail "this stayed: $1"
		sleep 0.05
	done
}

start 100 24
type '"$PARE" --no-state tiny.json'
await '^tiny  state 0 of 1'
await '\? help  q quit'

# Without marks, several lines with an end: all run, then the prompt closes.
enter ':'
await '^:$'
paste 'prune heads L0.h1\nprune heads L1.h1\n\nprune heads L2.h1\n'
await '^tiny .*state 3 of 4'
await_gone '^:'
await '\? help  q quit'
# The last line without an end stays to be looked at.
enter ':'
await '^:$'
paste 'undo\nundo\nquit'
await '^tiny .*state 1 of 4'
await '^:quit$'
enter C-u
type 'redo'
await '^tiny .*state 2 of 4'
await_gone '^:'
# Typed ahead is not pasted: the keys behind the line are keys.
t send-keys -t t ':' 'undo' Enter 'H'
await '^tiny .*state 1 of 4'
await 'norm of a head|no weights|L2 '
await '^L2 '
enter Escape
await '^module '

# With marks: one line, not run before Enter; then line by line.
enter ':'
await '^:$'
paste 'undo\nprune ffn L0\n' -p
await '^:undo prune ffn L0'
await '^tiny .*state 1 of 4'
enter Enter
await '^tiny .*state 4 of 5'
await_gone '^:'
# Where keys act it opens the prompt.
paste 'quit\n' -p
await '^:quit$'
[ -n "$(pare_pid)" ] || fail 'a paste left'
enter Escape
await_gone '^:'
enter y
await '^State +1|1 prune heads L0.h1'
enter Escape
await '^module '
enter Q
await 'Quit\? y/n'
enter y
await 'shell\$$'

# The prompt without the screen.
type 'clear; "$PARE" --no-state --repl tiny.json'
await_prompt
paste 'prune heads L0.h1\nundo\nprune heads L2.h1\n'
await '^state 2: '
await_prompt
paste 'undo' -p
await '^pare> undo$'
enter C-c
await_prompt
type 'history'
await '^\* 2 .*prune heads L2.h1'

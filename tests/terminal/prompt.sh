#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Completion, Ctrl-C, recall, the history file, Ctrl-D.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 80 24
type '"$PARE" --repl tiny.json'
await '^tiny: BERT, 3 layers of 4 heads'
await_prompt

# Commands, ops, arguments and files complete.
enter 'hist' Tab
await '^pare> history'
enter Enter
await '^\* 0 +as opened'
await_prompt
enter 'pru' Tab 'hea' Tab 'L0.h1' Enter
await '^state 1: '
await_prompt
enter 'sho' Tab 'by=' Tab Tab
await 'by=layer'
await 'by=tensor'
enter C-c
await '\^C'
await_prompt
enter 'open tin' Tab
await '^pare> open tiny.json'
enter C-c
await_prompt

# Ctrl-C clears the line, and at an empty prompt never leaves.
for _ in 1 2 3 4 5 6; do
	enter C-c
done
await 'Ctrl-D or quit leaves'
await_prompt
type 'undo'
await '^state 0: '
await_prompt

# What a search found is gone after Ctrl-C: Enter runs nothing.
enter C-l
enter C-r 'prune'
await 'prune heads'
enter C-c
await_prompt
enter Enter
type 'history'
await '^\* 0 +as opened'
await_prompt

# Lines are on the disk before the end, in order, and Up recalls them.
grep -q '^prune heads L0.h1' "$state/history" || fail 'no history on disk'
enter C-l
await_prompt
enter Up
await '^pare> history'
enter C-c
await_prompt
case $(stat -c %a "$state/history") in
600) ;;
*) fail 'others can read the history' ;;
esac

# An error is told with its hint, and the prompt stays.
type 'prnue heads L0.h1'
await '^error: there is no command .prnue.'
await '^  hint: .*prune'
await_prompt

# Ctrl-D with text does not leave, on an empty line it does.
enter 'x' C-d
await '^pare> x'
enter C-u C-d
await 'shell\$$'
type 'echo status $?'
await '^status 0'

# The next session recalls the lines of the one before.
fresh
type '"$PARE" --repl tiny.json'
await_prompt
enter Up Up
await '^pare> history'
enter C-c
await_prompt
type 'quit'
await 'shell\$$'

# With a change that is not saved, leaving asks once; Ctrl-D, an answer, Ctrl-C.
fresh
type '"$PARE" --repl tiny.json'
await_prompt
type 'prune heads L0.h1'
await '^state 1: '
await_prompt
enter C-d
await 'Leave\? y/n'
type n
await_prompt
type 'quit'
await_count 2 'Leave\? y/n'
enter C-c
await_prompt
enter C-d
await_count 3 'Leave\? y/n'
type y
await 'shell\$$'
fresh
type '"$PARE" --repl tiny.json'
await_prompt
type 'prune heads L0.h1'
await '^state 1: '
await_prompt
type 'quit!'
await 'shell\$$'

# ~/.inputrc, also what it has for pare alone.
printf '%s\n' '$if pare' '"\C-xh": "history"' '$endif' >"$HOME/.inputrc"
fresh
type '"$PARE" --repl tiny.json'
await_prompt
enter C-x h
await '^pare> history$'
enter C-c
await_prompt
# A resize draws the line again, once.
enter 'show by=kind'
await '^pare> show by=kind$'
resize 60 20
resize 90 22
sleep 0.2
await '^pare> show by=kind$'
[ "$(screen | grep -c '^pare> show by=kind$')" -eq 1 ] ||
	fail 'the line is there more than once after a resize'
enter C-c
await_prompt
type quit
await 'shell\$$'
rm "$HOME/.inputrc"

# Output goes through a pager only where it is longer than the screen.
fresh
type 'PAGER="sed s/^/paged:/" "$PARE" --repl tiny.json'
await_prompt
type 'show by=kind'
await '^total'
await_prompt
if screen | grep -q '^paged'; then
	fail 'short output is paged'
fi
type 'show by=tensor'
await '^paged:total'
await_prompt
type 'set pager off'
await_prompt
enter C-l
await_prompt
type 'show by=tensor'
await '^total'
await_prompt
if screen | grep -q '^paged'; then
	fail 'set pager off does not last'
fi
type quit
await 'shell\$$'

# Two at once keep the lines of both.
fresh
type '"$PARE" --repl tiny.json'
await_prompt
t new-window -d -n other -c "$scratch" 'PS1="shell\$ " exec sh'
t send-keys -t t:other '"$PARE" --repl tiny.json' Enter
n=0
until t capture-pane -p -t t:other | grep -q '^pare>'; do
	n=$((n + 1))
	[ $n -lt "$LIMIT" ] || fail 'the other one does not start'
	sleep 0.05
done
t send-keys -t t:other 'mark theirs' Enter
type 'mark mine'
await '^state 0.*mine'
t send-keys -t t:other 'quit' Enter
type quit
await 'shell\$$'
n=0
until grep -q '^mark theirs' "$state/history"; do
	n=$((n + 1))
	[ $n -lt "$LIMIT" ] || fail 'the lines of the other one are lost'
	sleep 0.05
done
grep -q '^mark mine' "$state/history" || fail 'own lines are lost'

# Commands on the line run, and then it ends; with -I it stays.
fresh
type '"$PARE" tiny.json -c "mark here"; echo status $?'
await '^status 0'
await '^shell\$$'
type '"$PARE" --repl tiny.json -I -c "mark here"'
await_prompt
type quit
await 'shell\$$'

# Terminals that nobody described: the prompt, with a word on why.
for term in '' dumb nonsense; do
	fresh
	type "TERM=$term '$PARE' --no-state tiny.json"
	await '(^|shell\$ )pare: .*: here is the prompt'
	await '^pare>'
	type quit
	await 'shell\$$'
	type 'echo status $?'
	await '^status 0'
done

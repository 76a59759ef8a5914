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
type clear
type '"$PARE" --repl tiny.json'
await_prompt
enter Up Up
await '^pare> history'
enter C-c
await_prompt
type 'quit'
await 'shell\$$'

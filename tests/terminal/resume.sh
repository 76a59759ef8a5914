#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# After kill -9 the next start offers to resume, and resuming leads to the same
# model.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 100 24
type '"$PARE" --repl'
await_prompt
type 'open samples/reviews/config.json weights=random seed=1'
await_prompt
await '^reviews: BERT'
type 'prune heads L0.h1'
await '^state 1: '
type 'quantize L*.ffn bits=4 group=64'
await '^state 2: '
await_prompt
type 'info'
await '^hash +[0-9a-f]{16}'
before=$(screen | sed -n 's/^hash *//p')
pid=$(pare_pid)
kill -9 "$pid"
await "[Kk]illed"
# Nobody put the terminal right.
enter 'stty sane; echo re''paired' C-j
await '(^|shell\$ )repaired$'
fresh
type '"$PARE" --repl'
await '"resume" to take'
await_prompt
type 'resume'
await '^state 2: '
await_prompt
enter C-l
type 'info'
await '^hash +[0-9a-f]{16}'
after=$(screen | sed -n 's/^hash *//p')
[ "$before" = "$after" ] || fail "the hash was $before and is $after"
await_prompt

# A session that ended in order is not offered.
type 'quit'
await 'Leave\? y/n'
type y
await 'shell\$$'
fresh
type '"$PARE" --repl'
await_prompt
if screen | grep -q resume; then
	fail 'resume is offered without a crash'
fi
type 'quit'
await 'shell\$$'

# Where nothing can be kept it says so once, and all else works.
for front in --repl --plain; do
	fresh
	type "XDG_STATE_HOME=/proc/none '$PARE' $front tiny.json"
	await '(^|shell\$ )warning: no history and no journal are kept: .*/proc/none'
	await_prompt
	type 'prune heads L0.h1'
	await '^state 1: '
	await_prompt
	[ "$(screen | grep -c 'no journal')" -eq 1 ] || fail 'said twice'
	type 'quit!'
	[ $front = --repl ] || enter C-d
	await 'shell\$$'
done
fresh
type 'XDG_STATE_HOME=/proc/none "$PARE" tiny.json'
await '^no history and no journal are kept'
type ':prune heads L0.h1'
await '^tiny .*state 1 of 2'
type ':quit!'
await 'shell\$$'
# Without a home nothing is written anywhere.
fresh
type 'mkdir empty; cd empty; env -u HOME -u XDG_STATE_HOME "$PARE" --repl ../tiny.json'
await_prompt
type 'prune heads L0.h1'
await '^state 1: '
await_prompt
type 'quit!'
await 'shell\$$'
[ -z "$(ls -A "$scratch/empty")" ] || fail 'something was written'

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
enter 'stty sane' C-j
type clear
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
type clear
type '"$PARE" --repl'
await_prompt
if screen | grep -q resume; then
	fail 'resume is offered without a crash'
fi

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Ctrl-C stops a running command, changes nothing and never ends the program.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 80 24
type '"$PARE" --repl'
await_prompt
type 'open samples/reviews/config.json weights=random seed=1'
await '^reviews: BERT'
await_prompt
type 'prune heads L0.h1'
await '^state 1: '
await_prompt

# Progress is on one line that goes away.
type 'latency runs=100000 batch=4'
await '[0-9] of [0-9]+ '
enter C-c
await '^error: .*cancel'
await_prompt
if screen | grep -q ' of 100000 '; then
	fail 'the progress line stayed'
fi

# Several in a row do no more than one.
type 'latency runs=100000 batch=4'
await '[0-9] of [0-9]+ '
enter C-c
enter C-c
enter C-c
await_count 2 '^error: .*cancel'
await_prompt
type 'history'
await '^\* 1 +prune heads L0.h1'
await_prompt

# Ctrl-Z stops the program, fg brings it back with its prompt.
enter C-z
await 'shell\$$'
type 'fg'
await_prompt
type 'undo'
await '^state 0: '

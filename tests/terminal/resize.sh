#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The prompt survives any size, and output fits the one there is.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 80 24
type '"$PARE" --repl tiny.json'
await_prompt
for size in 20:5 1:1 200:50 40:10; do
	resize "${size%:*}" "${size#*:}"
done
resize 60 30
enter C-l
await_prompt
type 'show'
await '^total'
await_prompt
screen | sed 's|─|-|g' | awk 'length > 60 { exit 1 }' || fail 'lines are too long'
resize 100 30
enter C-l
await_prompt
type 'show'
await '^total'
screen | grep -q 'heads  FFN' || fail 'the wide table has no more columns'

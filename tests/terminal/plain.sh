#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# --plain, for what reads a screen aloud: new lines only. Nothing moves the
# cursor or rewrites a line, no lines or bars are drawn, and progress is silent.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 100 50
type 'NO_COLOR=1 "$PARE" --plain samples/reviews --data samples/reviews.test.tsv'
await_prompt
t pipe-pane -t t "cat >>'$scratch/bytes'"
for line in show 'inspect L0.up' 'prune heads L0.h1' history \
    'prune heads L9.h9' undo; do
	type "$line"
	await_prompt
done
# Ctrl-C stops what runs. That it runs is seen by the time it has used.
ticks() {
	sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'
}
pid=$(pare_pid)
before=$(ticks)
type 'latency runs=100000'
n=0
while [ "$(ticks)" -lt $((before + 20)) ]; do
	n=$((n + 1))
	[ $n -lt "$LIMIT" ] || fail 'it does not run'
	sleep 0.05
done
enter C-c
await '^error: .*cancel'
await_prompt
type info
await '^hash'
await_prompt
t pipe-pane -t t
[ -s "$scratch/bytes" ] || fail 'nothing was recorded'
for line in '^state 1: ' '^error: ' '^L0.ffn.up.weight' '^total'; do
	tr -d '\r' <"$scratch/bytes" | grep -Eq "$line" ||
		fail "no line like $line"
done
esc=$(printf '\033')
if grep -q "$esc" "$scratch/bytes"; then
	grep "$esc" "$scratch/bytes" | cat -v | head -n 5
	fail 'escape sequences'
fi
# A return only where a line ends.
if tr -d '\n' <"$scratch/bytes" | grep -q "$(printf '\r')[^$(printf '\r')]" &&
    sed 's/\r*$//' "$scratch/bytes" | grep -q "$(printf '\r')"; then
	fail 'a line was written over'
fi
if grep -E '─|│|█|▏|▌|▁|▇|----' "$scratch/bytes"; then
	fail 'drawings'
fi
if grep -q ' of 100000' "$scratch/bytes"; then
	fail 'progress is not silent'
fi
type quit
await 'shell\$$'

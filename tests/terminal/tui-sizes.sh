#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Every view at sizes from one cell up, also while an evaluation runs; a burst of
# resizes ends with the picture of that size.
set -eu
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 80 24
type '"$PARE" --no-state samples/reviews --data samples/reviews.test.tsv'
await '^reviews .*accuracy [0-9]'
await '\? help  q quit'

last_row() {
	screen | tail -n 1
}

# await_last PATTERN: the last row of the screen is that, at this size.
await_last() {
	n=0
	until last_row | grep -Eq -e "$1"; do
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || {
			echo "the last row is not: $1"
			return 1
		}
		sleep 0.05
	done
}

# through_sizes PATTERN WHERE: every size and back; the last row is the hint bar
# wherever it has room, and at the end the screen is what it was.
sizes='1:1 2:2 5:2 20:5 40:10 200:60 500:120 2:2'
through_sizes() {
	await_last "$1"
	before=$(screen)
	for size in $sizes 80:24; do
		resize "${size%:*}" "${size#*:}"
		[ "${size%:*}" -lt 40 ] || await_last "$1"
	done
	[ -n "$(pare_pid)" ] || fail "$2: a size ended the program"
	[ -n "${3-}" ] || await_screen "$before" "$2"
}

await_screen() {
	n=0
	until [ "$(screen)" = "$1" ]; do
		n=$((n + 1))
		[ $n -lt "$LIMIT" ] || {
			echo "$1"
			fail "$2: another picture than before at this size"
		}
		sleep 0.05
	done
}

# Every view, with things to show in it.
enter ':' 'prune heads L0.h0' Enter
await 'state 1 of 2'
await '[0-9] fixed [0-9]+ broke'
type ':prune heads L1.h1'
await 'state 2 of 3'
await '^reviews .* accuracy [0-9]|^accuracy [0-9]'
through_sizes '\? help  q quit' tree
for keys in H P a 'a Enter' y 'y p' 'y c' v 'v Enter' ':show Enter' '?' \
    'y ?'; do
	for key in $keys; do
		enter "$key"
		sleep 0.05
	done
	through_sizes '^(\? help|q back)' "$keys"
	while ! screen | grep -q '^module '; do
		enter Escape
		sleep 0.1
	done
done

# The prompt, also with a list of completions; a question; a search.
enter ':' 'prune heads L1.h0'
await '^:prune heads L1.h0'
through_sizes '^Enter run' prompt
enter C-u 'pru' Tab
await '^:prune'
enter C-u '' Tab Tab
await '^attend  compare'
through_sizes '^Enter run' completions
enter Escape
await_last '^. help'
enter Q
await 'Quit\? y/n'
through_sizes '^y yes' question
enter n
enter / 'L1'
through_sizes '^Enter find' search
enter Enter

# While samples are evaluated, in some views. A cut in the first layer begins the
# evaluation anew, and plain C makes it a long one.
head -n 1 "$scratch/samples/reviews.test.tsv" >"$scratch/many.tsv"
i=0
while [ $i -lt 60 ]; do
	tail -n +2 "$scratch/samples/reviews.test.tsv" >>"$scratch/many.tsv"
	i=$((i + 1))
done
type ':set kernels scalar'
await '^set kernels scalar'
type ':data many.tsv'
for keys in '' H 'y p' v ':'; do
	type ':prune neurons 1 L0'
	await 'partial [0-9]+/60000'
	for key in $keys; do
		enter "$key"
		sleep 0.05
	done
	through_sizes '(^|  )(\? help|q back|Enter run)' "$keys, evaluating" \
	    moving
	while ! screen | grep -q '^module ' || screen | grep -q '^:'; do
		enter Escape
		sleep 0.1
	done
done
enter C-c
await 'accuracy \?'
type ':set kernels auto'
await '^set kernels auto'
type ':data samples/reviews.test.tsv'
type ':goto 2'
await 'state 2 of 8'
await '[0-9] fixed [0-9]+ broke'

# Too small says so, and q still quits.
resize 20 3
await 'needs 20x5, has 20x3'
resize 80 24
await 'state 2 of 8'
resize 12 3
enter q
resize 80 24
await 'Quit\? y/n'
enter n
await '^no$'

# A burst.
enter C-l
await '^ *$'
tty=$(t display-message -p -t t '#{pane_tty}')
i=0
while [ $i -lt 50 ]; do
	t resize-window -t t -x $((30 + i * 7 % 90)) -y $((8 + i * 5 % 40))
	i=$((i + 1))
done
resize 90 28
await '^module .*│'
n=0
burst=
while :; do
	now=$(screen)
	[ "$now" != "$burst" ] || break
	burst=$now
	n=$((n + 1))
	[ $n -lt "$LIMIT" ] || fail 'the screen does not come to rest'
	sleep 0.2
done
enter C-l
sleep 0.1
await '^module .*│'
[ "$(screen)" = "$burst" ] || fail 'after the burst the screen is not right'
[ "$(stty size -F "$tty")" = '28 90' ] || fail 'the size is another'

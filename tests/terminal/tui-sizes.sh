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

# At a size where keys are hinted, the last row does.
at_size() {
	resize "$1" "$2"
	await '(\? help|q back)'
	[ -n "$(pare_pid)" ] || fail "$1 by $2 ended the program"
}

for key in '' H P a y v '?'; do
	[ -z "$key" ] || enter "$key"
	for size in 1:1 5:2 20:5; do
		resize "${size%:*}" "${size#*:}"
	done
	at_size 40 10
	at_size 200 50
	[ "$(screen | tail -n 1 | cut -c 1-6)" = '? help' ] ||
	    [ "$(screen | tail -n 1 | cut -c 1-6)" = 'q back' ] ||
		fail "the last row is not the hint bar in view '$key'"
	case $key in
	'') ;;
	'?') enter '?' ;;
	*)
		enter Escape
		await "^module "
		;;
	esac
done

# The prompt at every size, and while samples are evaluated.
enter ':' 'prune heads L0.h1'
for size in 1:1 5:2 20:5 80:24; do
	resize "${size%:*}" "${size#*:}"
done
await '^:prune heads L0.h1'
enter Enter
for size in 1:1 40:10 5:2 100:30; do
	resize "${size%:*}" "${size#*:}"
done
await 'state 1 of 2'
await '[0-9] fixed [0-9]+ broke'

# Too small says so, and q still quits.
resize 20 3
await 'needs [0-9]+x[0-9]+'
resize 80 24
await 'state 1 of 2'
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

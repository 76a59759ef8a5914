#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Text has to be read on light and on dark terminals: no colour is near black or
# near white, and nothing sets a background.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"
bad=0

if grep -nE 'COLOR_(BLACK|WHITE)' ui/*.c ui/*/*.c; then
	echo 'black or white text'
	bad=1
fi
# Of the 256: 0, 7, 8, 15, 16, 231, and greys but for the middle ones.
rows=$(sed -n '/^static const struct look_row theme_rows/,/^};/p' \
    ui/tui/screen.c | grep -oE '\{ -?[0-9]+, ' | tr -cd '0-9\n-')
[ "$(echo "$rows" | wc -l)" -ge 30 ] || {
	echo 'the table of themes was not found'
	bad=1
}
for n in $rows; do
	case $n in
	0 | 7 | 8 | 15 | 16 | 231 | 23[2-9] | 24[01] | 25[0-5])
		echo "colour $n is near black or white"
		bad=1
		;;
	esac
done
# Sequences of the prompt: 30 and 37 are black and white, 4x backgrounds.
if sed -n '/^static const char \*const sgr/,/^};/p' ui/look.c |
    grep -nE '"(.*;)?(30|37|90|97|4[0-9]|10[0-9])"'; then
	echo 'black, white or a background in the prompt'
	bad=1
fi
# The pairs of curses leave the background alone.
if grep -n 'init_pair(' ui/tui/screen.c | grep -v ', -1)'; then
	echo 'a background in the workbench'
	bad=1
fi
exit $bad

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The first law of the house: a room includes headers only of itself and of
# rooms to its left. Headers carry the guard PARE_ROOM_NAME_H.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"

bad=$(find src ops ui -name '*.[ch]' | sort | xargs awk '
BEGIN {
	n = split("base tensor model file text engine ops measure session ui" \
	    " main", order, " ")
	for (i = 1; i <= n; i++)
		rank[order[i]] = i
}
function room(path) {
	sub(/^src\//, "", path)
	if (path == "main.c")
		return "main"
	sub(/\/.*/, "", path)
	return path
}
FNR == 1 {
	here = room(FILENAME)
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, part, "\"")
	if (part[2] !~ /\//) {
		print FILENAME ":" FNR ": \"" part[2] "\" names no room"
		next
	}
	there = room(part[2])
	if (!(there in rank))
		print FILENAME ":" FNR ": no room called " there
	else if (rank[there] > rank[here])
		print FILENAME ":" FNR ": " here " may not include " there
}
')
if [ -n "$bad" ]; then
	echo "$bad"
	exit 1
fi

status=0
for f in $(find src ops ui -name '*.h'); do
	guard=PARE_$(echo "${f#src/}" | tr 'a-z/.-' 'A-Z___')
	if ! grep -q "^#ifndef $guard\$" "$f"; then
		echo "$f: its include guard is not $guard"
		status=1
	fi
done
exit $status

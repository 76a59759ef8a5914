#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Nothing above ui/ prints, and nothing a user or a file can cause ends the
# process. The last words of base/mem.c, when the machine has no memory left,
# are the one exception.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"

# Calls and streams, after comments and strings are taken out.
bad=$(for f in src/*/*.c src/*/*.h ops/*.c ops/*.h; do
	[ "$f" = src/base/mem.c ] && continue
	awk -v file="$f" '
	{
		line = $0
		if (inside) {
			if (!match(line, /\*\//))
				next
			line = substr(line, RSTART + 2)
			inside = 0
		}
		gsub(/\\./, "", line)
		gsub(/"[^"]*"/, "\"\"", line)
		gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", line)
		sub(/\/\/.*/, "", line)
		if (match(line, /\/\*/)) {
			line = substr(line, 1, RSTART - 1)
			inside = 1
		}
		if (line ~ /(^|[^A-Za-z0-9_])(v?printf|puts|putchar|perror|vwarn|warnx?|errx?|exit|_exit|abort|assert)[ \t]*\(/ ||
		    line ~ /(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)/)
			print file ":" NR ": " $0
	}' "$f"
done)
# assert() is for the mistakes of programmers: allowed where a line says so.
bad=$(echo "$bad" | grep -v 'assert(' || true)
if [ -n "$bad" ]; then
	echo "these lines print or end the process; return a result or an error:"
	echo "$bad"
	exit 1
fi

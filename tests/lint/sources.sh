#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Checks that sources.am lists every source and test of the tree, and nothing
# that is not there. With --write it makes the list: run that after adding or
# removing a file.
set -eu
cd "${PARE_SOURCE:-$(dirname "$0")/../..}"

# list NAME [WITHOUT-EXTENSION] FILE... prints one automake variable.
list() {
	name=$1
	shift
	printf '\n%s =' "$name"
	for f in "$@"; do
		printf ' \\\n\t%s' "$f"
	done
	printf '\n'
}

# Files by pattern, without failing where a pattern matches nothing.
files() {
	for f in "$@"; do
		if [ -f "$f" ]; then printf '%s\n' "$f"; fi
	done | LC_ALL=C sort
}

make_list() {
	echo '# SPDX-License-Identifier: GPL-3.0-or-later'
	echo '# Written by tests/lint/sources.sh --write.'
	# shellcheck disable=SC2046,SC2016
	{
	list ROOM_LIST $(files src/*/*.[ch] ops/*.[ch] ui/*.[ch] \
	    ui/*/*.[ch] |
	    grep -v '^ui/pare-docs\.c$')
	list UNIT_LIST $(files tests/unit/test_*.c | sed 's/\.c$//')
	list FUZZ_LIST $(files tests/fuzz/fuzz_*.c | sed 's/\.c$//')
	for f in $(files tests/unit/test_*.c); do
		printf '%s_LDADD = $(UNIT_LINK)\n' \
		    "$(echo "${f%.c}" | tr / _)"
	done
	for f in $(files tests/fuzz/fuzz_*.c); do
		name=$(echo "${f%.c}" | tr / _)
		printf '%s_LDADD = $(FUZZ_LINK)\n' "$name"
		printf '%s_LDFLAGS = $(FUZZ_FLAGS)\n' "$name"
	done
	list BENCH_LIST $(files tests/bench/bench_*.c | sed 's/\.c$//')
	list SCRIPT_LIST $(files tests/lint/*.sh tests/commands/*.sh \
	    tests/interop/*.sh \
	    tests/commands/*.pare tests/terminal/*.sh)
	list FILE_LIST $(find tests -type f ! -name '*.sh' ! -name '*.o' \
	    ! -name '*.log' ! -name '*.trs' ! -name '.*' \
	    ! -path '*/.*' ! -path 'tests/fuzz/replay.c' ! -path 'tests/commands/*.pare' |
	    while read -r f; do
		if [ "${f%.c}" != "$f" ]; then
			case $f in
			tests/unit/test_*|tests/fuzz/fuzz_*) ;;
			tests/bench/bench_*) ;;
			*) echo "$f";;
			esac
		elif [ ! -f "$f.c" ]; then
			echo "$f"
		fi
	    done | LC_ALL=C sort)
	}
}

if [ "${1:-}" = --write ]; then
	make_list >sources.am.tmp
	mv sources.am.tmp sources.am
	exit 0
fi
make_list | diff -u sources.am - && exit 0
echo "sources.am is not what the tree holds: run tests/lint/sources.sh --write"
exit 1

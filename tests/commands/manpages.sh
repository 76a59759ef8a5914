#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The manual pages, written and generated, are clean mdoc; the completions are
# clean shell.
set -eu
: "${PARE_SOURCE:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${PARE_BUILD:=$PARE_SOURCE}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
docs=$PARE_BUILD/pare-docs
[ -x "$docs" ] || {
	echo "pare-docs was not built"
	exit 77
}
for page in commands ops; do
	"$docs" $page >"$dir/pare-$page.7"
done
for shell in bash zsh fish; do
	"$docs" $shell >"$dir/$shell"
	[ -s "$dir/$shell" ]
done
"$docs" nothing >/dev/null 2>&1 && exit 1
if command -v bash >/dev/null; then
	bash -n "$dir/bash"
	# shellcheck disable=SC2016
	words=$(bash -c '. "$1"; COMP_WORDS=(pare --dr); COMP_CWORD=1; _pare
	    echo "${COMPREPLY[*]}"' sh "$dir/bash")
	[ "$words" = --dry-run ] || {
		echo "bash completes --dr to: $words"
		exit 1
	}
fi
command -v mandoc >/dev/null || {
	echo "mandoc is not installed"
	exit 77
}
mandoc -Tlint -Wwarning "$dir"/*.7 "$PARE_SOURCE"/man/pare.1 \
    "$PARE_SOURCE"/man/pare-formats.5

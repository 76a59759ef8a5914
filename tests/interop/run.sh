#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Opens what `export` writes with the programs it is written for, where a machine
# has them, and compares their outputs with pare's: Transformers (with torch) for
# folders, llama.cpp (as the Python package xllamacpp or llama_cpp) and the
# package gguf for files; and perplexities and pruned vocabularies beside
# Transformers. PYTHON names the interpreter that has them. One line a
# case; exit status 77 where there is none of them, 1 where outputs differ.
set -eu
: "${PARE_SOURCE:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${PARE:=${PARE_BUILD:-$PARE_SOURCE}/pare}"
: "${PYTHON:=python3}"
command -v "$PYTHON" >/dev/null 2>&1 || {
	echo "there is no $PYTHON"
	exit 77
}
[ -x "$PARE" ] || {
	echo "there is no program at $PARE; PARE names it"
	exit 77
}
export PARE PARE_SOURCE
TRANSFORMERS_OFFLINE=1 HF_HUB_OFFLINE=1
export TRANSFORMERS_OFFLINE HF_HUB_OFFLINE
files=0 text=0
"$PYTHON" "$PARE_SOURCE/tests/interop/compare.py" "$@" || files=$?
# Arguments choose among the cases of files.
[ $# -gt 0 ] || "$PYTHON" "$PARE_SOURCE/tests/interop/language.py" || text=$?
[ "$files" -ne 77 ] || exit "$text"
[ "$text" -ne 77 ] || exit "$files"
exit $((files | text))

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Opens what `export` writes with the programs it is written for, where a machine
# has them, and compares their outputs with pare's: Transformers (with torch) for
# folders, llama.cpp (as the Python package xllamacpp or llama_cpp) and the
# package gguf for files. PYTHON names the interpreter that has them. One line a
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
TRANSFORMERS_OFFLINE=1 HF_HUB_OFFLINE=1 exec "$PYTHON" \
    "$PARE_SOURCE/tests/interop/compare.py" "$@"

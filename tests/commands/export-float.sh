#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Integers that are multiplied with floats become blocks that are multiplied with
# rounded activations: the outputs differ, and that is told, not refused.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ -f "$PARE_SOURCE/samples/reviews/model.safetensors" ] || exit 77

"$PARE" --no-state --json "$PARE_SOURCE/samples/reviews" \
    -c 'quantize L*.attn bits=4 group=32 activations=float' \
    -c "export gguf $dir/m.gguf" >"$dir/out"
grep -q '"Q4_0"' "$dir/out"
[ -f "$dir/m.gguf" ]

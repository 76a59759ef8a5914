#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A model of a GGUF file is saved with the tokenizer that lies in its keys.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ -f "$PARE_SOURCE/samples/stories/model.safetensors" ] || exit 77
cd "$dir"

# told FILE: how the model there goes on.
told() {
	"$PARE" --no-state --json "$1" -c 'generate "Once upon a time" n=12' |
	    sed 's/.*"prompt_ids":\(\[[0-9,]*\]\).*"ids":\(\[[0-9,]*\]\).*/\1 \2/'
}

"$PARE" --no-state "$PARE_SOURCE/samples/stories" -c 'export gguf m.gguf' >out
"$PARE" --no-state m.gguf -c 'save folder' >out
told m.gguf >before
told folder >after
grep -q '^\[.*\] \[.*\]$' before
diff before after

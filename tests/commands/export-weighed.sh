#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Rounding to blocks by what the calib samples say: other values of the same size,
# for each matrix they pass; refused where there is nothing to round or to see.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ -f "$PARE_SOURCE/samples/reviews/model.safetensors" ] || exit 77
ln -s "$PARE_SOURCE/samples" "$dir/samples"
cd "$dir"

run() {
	"$PARE" --no-state --json "$@"
}

run samples/reviews --data calib=samples/reviews.train.tsv \
    -c 'export gguf plain.gguf type=Q4_0' \
    -c 'export gguf weighed.gguf type=Q4_0 calib=on' >out
[ "$(grep -c '"weighed":0,' out)" -eq 1 ]
[ "$(grep -c '"weighed":24,' out)" -eq 1 ]
[ "$(stat -c %s plain.gguf)" -eq "$(stat -c %s weighed.gguf)" ]
if cmp -s plain.gguf weighed.gguf; then
	echo "the samples changed nothing"
	exit 1
fi

refuse() {
	if run samples/reviews "$@" >out; then
		echo "not refused: $*"
		exit 1
	fi
}

refuse -c 'export gguf none.gguf type=Q4_0 calib=on'
grep -q 'calib' out
refuse --data calib=samples/reviews.train.tsv -c 'export hf folder calib=on'
grep -q 'none are asked for' out
[ ! -e none.gguf ] && [ ! -e folder ]

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The budget on the full screen: options measured by Enter, the budget moved by
# keys, applied as ordinary states; Ctrl-C leaves everything as it was.
set -eu
PARE_PATIENCE=${PARE_PATIENCE:-2400}
# shellcheck source=tests/terminal/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/terminal/lib"

start 100 40
head -n 41 "$scratch/samples/reviews.dev.tsv" >"$scratch/calib.tsv"
model=samples/reviews
[ -f "$PARE_SOURCE/samples/reviews/model.safetensors" ] || {
	(cd "$scratch" && "$PARE" --no-state -c 'open samples/reviews/config.json weights=random seed=1' \
	    -c 'save drawn' >/dev/null)
	model=drawn
}
type "\"\$PARE\" $model --data calib=calib.tsv -I -c 'set live off'"
await '\? help'
enter B
await 'is not known yet'
enter Enter
await 'measur|plan|options|timings'
enter C-c
await 'stopped|cancel'
type ':plan drop<=2pt apply=off using=quantize samples=20'
await 'to be applied|becomes'
enter q
await '^ *budget '
enter End
await '\(1\.0 x less\)'
enter Home
await 'bits='
enter Enter
await 'state [1-9][0-9]* of|applied:'
enter q
enter y
await 'quantize'

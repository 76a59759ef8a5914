#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Ranks and bits chosen by what the calib samples say, through the program: less
# error than the plain methods, budgets met and saved, clear words for what is
# missing, and the state unchanged then.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

find_reviews
head -n 81 samples/reviews.train.tsv >calib.tsv

# Without the breaks of lines.
flat() {
	tr '\n' ' ' | tr -s ' '
}

# Methods of factorize report the error both ways; whitened has less.
for method in asvd whitened fisher; do
	"$PARE" --no-state $model --data calib=calib.tsv \
	    -c "factorize L* ratio=50% method=$method" </dev/null | flat >$method
	has $method 'output error of 24 matrices [0-9.]+ % by plain'
done
"$PARE" --no-state $model --json --data calib=calib.tsv \
    -c 'factorize L* ratio=50% method=whitened' </dev/null |
    sed -E 's/.*error of 24 matrices ([0-9.]+) % by plain svd, ([0-9.]+) %.*/\1 \2/' |
    awk '{ exit !($2 < 0.8 * $1) }' || say 'whitened is no better than plain'
"$PARE" --no-state $model --data calib=calib.tsv \
    -c 'factorize L* ratio=50% method=whitened allocate=error' </dev/null | flat >spread
has spread 'ranks from [0-9]+ to [0-9]+'

# A budget is met, predicted and saved; the same line chooses the same, and it may
# be spelt as plan has it.
for i in 1 2; do
	[ $i = 1 ] && line='quantize mixed bytes=800K' ||
	    line='quantize mixed bytes<=800K'
	"$PARE" --no-state $model --data calib=calib.tsv \
	    -c "$line" -c "save mixed$i" </dev/null | flat >on$i
	has on$i 'bits a weight; [0-9.]+ KiB predicted, [0-9.]+ KiB'
done
cmp -s mixed1/model.safetensors mixed2/model.safetensors ||
    say 'the same line, other bytes'
[ "$(wc -c <mixed1/model.safetensors)" -le 835584 ] ||
    say "$(wc -c <mixed1/model.safetensors) bytes were saved"
"$PARE" --no-state $model --data calib=calib.tsv \
    -c 'quantize mixed bits=5 by=hessian' </dev/null | flat >hessian
has hessian 'bits a weight'
has hessian 'eigenvalues of 24 calib samples, to about 5 %'

# A sweep that was saved serves; without it what to type is said.
status=0
"$PARE" $model --data calib=calib.tsv -c 'quantize mixed bits=5 by=sweep' \
    </dev/null >/dev/null 2>err || status=$?
{ [ $status = 1 ] && has err 'sweep bits bits=2,3,4,8'; } ||
    say "by=sweep without one: $status"
"$PARE" $model --data calib=calib.tsv -c 'sweep bits bits=2,3,4,8' \
    -c 'quantize mixed bits=5 by=sweep' </dev/null | flat >swept
has swept 'bits a weight'

# What is missing or cannot be: one line, and the state as it was.
for line in 'factorize L* ratio=50% method=whitened' \
    'factorize L* ratio=50% method=fisher' 'quantize mixed bits=4' \
    'quantize mixed bits=4 by=hessian'; do
	status=0
	"$PARE" --no-state $model -c "$line" </dev/null >out 2>err ||
	    status=$?
	{ [ $status = 1 ] && [ "$(wc -l <err)" = 1 ] &&
	    grep -q 'role=calib' err; } || say "$line: $status $(cat err)"
done
"$PARE" --no-state $model -c 'quantize mixed bytes<=5x by=weights' </dev/null |
    flat >share
"$PARE" --no-state $model -c 'quantize mixed bytes<=20% by=weights' </dev/null |
    flat >part
cmp share part || say 'a fifth is not 20 %'
has share 'bits a weight'
for line in 'quantize mixed bytes<=1K' 'quantize mixed bits<=1.2' \
    'factorize L* ratio=0.5% method=whitened allocate=error'; do
	status=0
	"$PARE" --no-state $model --data calib=calib.tsv -c "$line" \
	    </dev/null >out 2>err || status=$?
	{ [ $status = 1 ] && ! grep -q 'state 1' out; } ||
	    say "$line: $status $(cat err)"
	has err '\((quantize mixed|factorize L\*) '
done
exit $bad

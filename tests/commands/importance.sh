#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# importance, sweep and pruning by importance on the sample: rankings that are
# complete and the same on any number of threads, a sweep that recalls what it
# measured, clear words without calib samples, and nothing of the eval samples.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

find_reviews
head -n 81 samples/reviews.train.tsv >calib.tsv

timeless() {
	sed -E 's/"(evaluation_)?seconds":[^,]*,//g'
}

# All kinds on all units, by threads.
for t in 1 3; do
	set --
	for by in magnitude activation gradient fisher lrp wanda random; do
		set -- "$@" -c "importance heads by=$by" \
		    -c "importance neurons by=$by"
	done
	"$PARE" --no-state --threads $t $model --json \
	    --data calib=calib.tsv "$@" -c 'importance layers by=similarity' \
	    -c 'importance sublayers by=similarity' \
	    -c 'importance weights by=wanda' -c 'sweep heads compare=on' \
	    -c 'prune heads 4 by=gradient' -c 'prune neurons 10% by=fisher' \
	    -c 'prune layers least 1 by=similarity' </dev/null | timeless >"on$t"
done
# Moments are sums over blocks of products, which threads may cut otherwise.
for f in on1 on3; do
	grep -E '"by":"(gradient|fisher|lrp|magnitude|random)"' $f >$f.exact
	[ "$(wc -l <$f.exact)" = 10 ] || say "$f has $(wc -l <$f.exact) rankings"
done
cmp on1.exact on3.exact || say 'threads make a difference'
grep -c '"path":"L[0-3].h[0-3]"' on1 >/dev/null || say 'no heads were ranked'
[ "$(head -n 1 on1 | grep -o '"rank":' | wc -l)" = 16 ] ||
    say 'not all 16 heads are ranked'
# The sample is sure of what it was trained on.
"$PARE" --no-state $model --data calib=calib.tsv \
    -c 'importance heads by=fisher' </dev/null 2>&1 >/dev/null |
    grep -q 'gradients say what [1-3] of 80 would' ||
    say 'no word of samples that say nothing'
grep -q '"spearman":{"magnitude":{"kl":' on1 || say 'no correlations'
[ "$(grep -c '"ok":true' on1)" = 21 ] || say "$(grep '"ok":false' on1)"

# A sweep is recalled, and is the same table then.
for i in 1 2; do
	"$PARE" $model --json --data calib=calib.tsv -c 'sweep layers' \
	    </dev/null | timeless >"sweep$i"
done
grep -q '"recalled":0,' sweep1 || say "$(cat sweep1)"
grep -q '"recalled":4,' sweep2 || say "$(cat sweep2)"
sed 's/.*"rows"//' sweep1 >a
sed 's/.*"rows"//' sweep2 >b
cmp a b || say 'a recalled sweep is another one'

# The same of what is removed one after another, and of matrices.
for i in 1 2; do
	"$PARE" $model --json --data calib=calib.tsv \
	    -c 'sweep heads greedy each=3 steps=9' \
	    -c 'sweep rank others rank=4,50%' </dev/null | timeless >"more$i"
done
[ "$(grep -o '"round":3' more1 | wc -l)" = 3 ] || say 'no three rounds'

# And of text.
files='more'
if [ -f samples/stories/model.safetensors ]; then
	files="$files text"
	for i in 1 2; do
		"$PARE" samples/stories --json \
		    --data calib=samples/stories.calib.txt \
		    -c 'sweep layers samples=4' \
		    -c 'sweep heads greedy samples=2' \
		    -c 'importance heads samples=4' </dev/null |
		    timeless >"text$i"
	done
	grep -q '"text":true' text1 || say 'no windows of text'
	grep -q '"path":"L[0-3].h[02]-[13]"' text1 ||
	    say 'heads do not go in groups'
fi
for f in $files; do
	sed 's/"recalled":[0-9]*//' ${f}1 >a
	sed 's/"recalled":[0-9]*//' ${f}2 >b
	cmp a b || say "a recalled sweep is another one: $f"
	grep -o '"recalled":[1-9]' ${f}1 && say "$f recalls what was not there"
	[ "$(grep -c '"recalled":[1-9]' ${f}2)" = 2 ] || say "$f recalls nothing"
done

# Rounds are one line after another, in one step of the history.
hashes() {
	"$PARE" --no-state $model --json --data calib=calib.tsv "$@" \
	    -c show </dev/null >out || cat out
	tail -n 1 out | grep -o '"hash":"[0-9a-f]*"'
}
for how in 'by=gradient' 'by=fisher repair=refit' 'by=obs'; do
	a=$(hashes -c "prune heads 3 $how" -c "prune heads 3 $how" \
	    -c "prune neurons 20 $how" -c "prune neurons 21 $how")
	b=$(hashes -c "prune heads 6 $how rounds=2" \
	    -c "prune neurons 41 $how rounds=2")
	[ "$a" = "$b" ] || say "rounds, $how: $b and not $a"
	grep -q '"state":2' out || say "$(cat out)"
done
"$PARE" --no-state $model --json --data calib=calib.tsv -c \
    'prune neurons 50% by=obs' </dev/null | grep -q 'with it' ||
    say 'by=obs does not fit'

# One budget of multiply-adds, and a layer by the loss without it.
"$PARE" --no-state $model --json --data calib=calib.tsv \
    -c 'prune units 40% rounds=2' -c 'sweep layers greedy steps=1' \
    -c 'prune layers least 1 by=loss' -c 'show' </dev/null >out || cat out
grep -q 'heads and [0-9]* neurons went' out || say "$(cat out)"
grep -q '2 rounds; of the last' out || say "$(cat out)"
[ "$(grep -c '"ok":true' out)" = 4 ] || say "$(cat out)"

# The layer beside those that go is fitted, and what it won is told.
"$PARE" --no-state $model --json --data calib=calib.tsv \
    -c 'prune layers L1 repair=refit' -c 'prune layers L0 repair=refit' \
    -c 'undo 2' -c 'prune layers least 2 by=loss repair=refit' \
    </dev/null >out || cat out
[ "$(grep -c 'without the refit, [0-9.e-]* % with it' out)" = 3 ] ||
    say "$(cat out)"

# Sub-layer after sub-layer, and a time in place of multiply-adds: what was
# foretold stands beside what was measured.
"$PARE" --no-state $model --json --data calib=calib.tsv \
    -c 'prune units 40% by=kprune rescore=2' </dev/null >out || cat out
has out 'neurons went. the stream behind [0-9]+ matrices is'
for dry in '' -n; do
	status=0
	# shellcheck disable=SC2086
	"$PARE" --no-state $model --json $dry --data calib=calib.tsv \
	    -c 'prune units latency<=80% seq=64' -c 'recipe made.pare' \
	    </dev/null >out 2>err || status=$?
	# A machine so busy that its table shows no gain says so.
	if [ $status = 1 ]; then
		has err 'the nearest is latency<='
		continue
	fi
	has out '"predicted_ratio":0\.[0-8]'
	if [ -n "$dry" ]; then
		! grep -q measured_ratio out || say 'measured in a dry run'
		continue
	fi
	has out '"times":.*"measured_ratio":'
	has made.pare '^prune units latency<=80% seq=64 keep=[0-9]+:[0-9]+,'
done
while IFS='|' read -r line pattern; do
	status=0
	"$PARE" --no-state $model --data calib=calib.tsv -c "$line" \
	    </dev/null >/dev/null 2>err || status=$?
	{ [ $status = 1 ] && grep -Eq -e "$pattern" err; } ||
	    say "$line: $status $(cat err)"
done <<'END'
prune units 120%|from 0.1% to 99.9%
prune units 1.2|from 0.001 to 0.999
prune units|a budget is missing
prune units latency<=0.0001ms seq=8|the nearest is latency<=
END

# What is missing, and what to type.
for line in 'importance heads' 'sweep heads' 'prune heads 50% by=lrp' \
    'prune heads 25% by=obs' 'prune units 25%' \
    'prune units 25% by=kprune' \
    'prune layers least 1 by=loss' 'prune layers L1 repair=refit' \
    'prune layers least 1 by=similarity'; do
	status=0
	"$PARE" --no-state $model -d calib.tsv -c "$line" </dev/null \
	    >/dev/null 2>err || status=$?
	{ [ $status = 1 ] && grep -q 'data FILE role=calib' err; } ||
	    say "$line: $status $(cat err)"
done
for line in 'importance heads by=similarity' 'sweep bits bits=9' \
    'prune layers least 1' 'prune layers L0 by=random' 'prune units 4' \
    'sweep kept compare=on' 'sweep heads greedy compare=on' \
    'sweep kept others' 'sweep rank rank=0' 'sweep sparsity sparsity=100%' \
    'sweep bits greedy' 'sweep bits bits=2,2'; do
	status=0
	"$PARE" --no-state $model --data calib=calib.tsv -c "$line" \
	    </dev/null >/dev/null 2>err || status=$?
	{ [ $status = 1 ] && [ "$(wc -l <err)" = 1 ]; } ||
	    say "$line: $status $(cat err)"
done

# One sample is enough to count, and not to believe.
head -n 2 samples/reviews.train.tsv >one.tsv
for line in 'importance heads by=gradient' 'sweep heads' 'plan bytes<=4x'; do
	"$PARE" --no-state $model --data calib=one.tsv -c "$line" \
	    </dev/null 2>&1 | grep -q 'one calib sample was looked at' ||
	    say "$line believes one sample"
done
exit $bad

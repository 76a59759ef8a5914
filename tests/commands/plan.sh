#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# plan, overview and the random controls of compare on the sample: budgets that
# are kept, the same plan again, what is recalled, a history that stays when it
# should, and clear words for what cannot be.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"

find_reviews
head -n 61 samples/reviews.dev.tsv >calib.tsv
head -n 101 samples/reviews.test.tsv >test.tsv
fast='using=quantize samples=20'

run() {
	"$PARE" --json $model -d test.tsv --data calib=calib.tsv "$@" </dev/null
}

# value FILE OBJECT KEY
value() {
	grep -o "\"$2\":{[^}]*}" "$1" | grep -o "\"$3\":[-0-9.e]*" |
	    head -n 1 | sed 's/.*://'
}

# Told first: nothing changes. Then applied: as many states as lines, the bytes
# that were foretold, within the budget.
run -c "plan bytes<=6x $fast apply=off" -c history >told
[ "$(grep -o '"states":\[[^]]*' told | grep -o '"id":' | wc -l)" = 1 ] ||
    say 'apply=off added states'
run -n -c "plan bytes<=6x $fast" >dry
run -c "plan bytes<=6x $fast" -c history >did
start=$(value did start bytes)
told=$(value did predicted bytes)
is=$(value did measured bytes)
[ "$told" = "$is" ] || say "$told bytes foretold, $is measured"
[ $((6 * is)) -le "$start" ] || say "$is bytes is over a sixth of $start"
lines=$(head -n 1 did | sed 's/.*"lines":\[//; s/\].*//' | grep -o '","' |
    wc -l)
states=$(sed -n 2p did | grep -o '"id":' | wc -l)
[ "$states" = $((lines + 2)) ] || say "$states states of $lines + 1 lines"
for f in told dry did; do
	head -n 1 $f | sed 's/.*"lines":\[//; s/\].*//' >$f.lines
done
cmp told.lines did.lines || say 'another plan when it is applied'
cmp told.lines dry.lines || say 'another plan in a dry run'
grep -q '"applied":true' did || say 'not applied'
grep -q '"applied":false' dry || say 'applied in a dry run'
grep -q '"recalled":0,' told || say 'recalled what nobody measured'
grep -q '"recalled":0,' did && say 'measured twice'

# Without what was measured before, with the same lines in the end.
"$PARE" --no-state --json $model -d test.tsv --data calib=calib.tsv \
    -c "plan bytes<=6x $fast apply=off" </dev/null | head -n 1 |
    sed 's/.*"lines":\[//; s/\].*//' >again
cmp told.lines again || say 'another plan the second time'

# An ordinary history: undo goes one line back, and lines replay.
run -c "plan bytes<=4x $fast" -c 'recipe plan.pare' -c undo \
    >undone || say "$(cat undone)"
grep -q '"metric_value"' undone || say 'no undo'

# The smallest within a drop keeps within it on the calib samples.
run -c "plan drop<=2pt $fast apply=off" >drop
awk -v d="$(value drop calib drop)" 'BEGIN { exit !(d <= 0.0200001) }' ||
    say "drop $(value drop calib drop)"

# Multiply-adds and two budgets at once.
run -c 'plan macs<=60% bytes<=50% samples=20 using=prune apply=off' >two
awk -v m="$(value two predicted macs_per_token)" \
    -v s="$(value two start macs_per_token)" \
    -v b="$(value two predicted bytes)" -v t="$(value two start bytes)" \
    'BEGIN { exit !(m <= 0.6 * s && b <= 0.5 * t) }' ||
    say "two budgets: $(cat two)"

# A tenth of the multiply-adds is about a tenth of the time, never three.
run -c 'plan macs<=90% samples=20 using=prune apply=off' >tenth
awk -v m="$(value tenth predicted latency_ms)" \
    -v s="$(value tenth start latency_ms)" \
    'BEGIN { exit !(s > 0 && m > 0.8 * s) }' ||
    say "a tenth: $(value tenth predicted latency_ms) of $(value tenth start \
        latency_ms) ms"

# More kinds of options are never worse, as measured on all calib samples.
run -c "plan bytes<=10x $fast apply=off" >one
run -c 'plan bytes<=10x using=quantize,factorize,sparse samples=20 apply=off' \
    >three
awk -v a="$(value one calib kl)" -v b="$(value three calib kl)" \
    'BEGIN { exit !(a != "" && b != "" && b <= a) }' ||
    say "three kinds $(value three calib kl), one $(value one calib kl)"

# What cannot be, and what to type.
while IFS='|' read -r line pattern; do
	status=0
	"$PARE" $model --data calib=calib.tsv -c "$line" </dev/null >out \
	    2>err || status=$?
	{ [ $status = 1 ] && [ "$(grep -vc warning: err)" = 1 ] &&
	    grep -Eq -e "$pattern" err; } ||
	    say "$line: $status $(cat err)"
done <<END
plan|a budget is missing
plan bytes<=100 $fast|cannot be met.*nearest is bytes<=[0-9]+
plan bytes<=10parsec|is not a bound; allowed is as 20MB, 25% or 4x
plan bytes<=0|out of range
plan bytes<=2x using=magic|unknown word
plan order 'prune heads 50%'|two ops or more
END
status=0
"$PARE" --no-state $model -d test.tsv -c 'plan bytes<=2x' </dev/null \
    >out 2>err || status=$?
{ [ $status = 1 ] && grep -q 'data FILE role=calib' err; } ||
    say "no calib samples: $(cat err)"

# Orders: both of two, ranked, and the history as it was.
run -c "plan order 'prune neurons 50%' 'quantize all bits=4'" -c history \
    >orders
[ "$(grep -o '"rank":' orders | wc -l)" = 2 ] || say "$(cat orders)"
[ "$(tail -n 1 orders | grep -o '"id":' | wc -l)" = 1 ] ||
    say 'plan order added states'

# The table of methods; quantization to 8 bits saves bytes in any case.
run -c 'overview runs=5' -c history >over
[ "$(grep -o '"method":' over | wc -l)" = 8 ] || say "$(cat over)"
grep -q '"lines":"quantize all bits=8".*"memory":true' over ||
    say 'eight bits are no smaller'
[ "$(tail -n 1 over | grep -o '"id":' | wc -l)" = 1 ] ||
    say 'overview added states'

# Random controls: of a choice, not of named heads.
run -c 'prune heads 50% by=fisher' -c compare -c 'compare random=off' \
    -c 'undo' -c 'prune heads L0.h0' -c compare >control
[ "$(grep -c '"control":' control)" = 1 ] || say "$(cat control)"
grep -q '"line":"prune heads 50% by=random seed=1"' control ||
    say 'no random line'
grep '"control":' control | grep -o '"seed":' | wc -l | grep -qx 3 ||
    say 'not three draws'
exit $bad

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Sweeps over the processes of mpirun: the same tables as one process makes, one
# voice, one writer. Skipped in a build without MPI, and where there is no mpirun.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"
command -v mpirun >/dev/null 2>&1 || exit 77
grep -qs '^#define PARE_MPI\|DPARE_MPI' "${PARE_BUILD:-.}/Makefile" || exit 77
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM \
    OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_btl_vader_single_copy_mechanism
find_reviews
head -n 81 samples/reviews.train.tsv >calib.tsv

timeless() {
	sed -E 's/"(evaluation_)?seconds":[^,]*,//g'
}

# sweeps COMMAND...: the lines that are compared.
sweeps() {
	"$@" --threads 1 $model --json --data calib=calib.tsv \
	    -c 'sweep heads' -c 'sweep layers others' \
	    -c 'sweep heads greedy steps=5' -c 'sweep bits bits=3' \
	    -c 'sweep neurons block=100' -c "save saved.$n" </dev/null
}

mpirun -n 2 true >/dev/null 2>&1 || exit 77
for n in 1 2 3; do
	rm -rf state
	case $n in
	1) sweeps "$PARE" | timeless >on$n ;;
	*) sweeps mpirun -n $n "$PARE" | timeless >on$n ;;
	esac
	grep -v saved. on$n >table$n
	[ "$(wc -l <table$n)" = 5 ] || say "$n: $(cat on$n)"
	[ -f saved.$n/model.safetensors ] || say "$n processes saved nothing"
done
cmp table1 table2 || say 'two processes make another table'
cmp table1 table3 || say 'three processes make another table'

# What one process measured all know.
mpirun -n 2 "$PARE" --threads 1 $model --json --data calib=calib.tsv \
    -c 'sweep heads' </dev/null >again
grep -q '"recalled":16,' again || say "$(cat again)"

# There is one standard input.
status=0
mpirun -n 2 "$PARE" --threads 1 $model </dev/null >out 2>err || status=$?
[ $status != 0 ] || say 'lines of standard input went to one process'
grep -q 'processes run the lines of -c' err || say "$(cat err)"
exit $bad

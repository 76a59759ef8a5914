#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The command line: options, streams, exit statuses, signals, environment.
set -eu
# shellcheck source=tests/commands/lib
. "${PARE_SOURCE:-$(dirname "$0")/../..}/tests/commands/lib"
mkdir home
cp "$PARE_SOURCE/tests/commands/tiny.json" .

# run STATUS WORD...: pare gives that status; its text is in out and err.
run() {
	want=$1
	shift
	got=0
	"$PARE" "$@" >out 2>err </dev/null || got=$?
	[ $got -eq "$want" ] || {
		say "pare $*: exit status $got, not $want"
		cat err
	}
}

lacks() {
	if grep -Eq -e "$2" "$1"; then
		say "$1 has a line like $2:"
		cat "$1"
	fi
}

esc=$(printf '\033')

# Help and version: plain text on standard output, in 80 columns.
run 0 --help
has out '^usage: pare'
[ "$(grep -c '^  pare ' out)" -ge 3 ] || say 'help has no three examples'
lacks out "$esc"
awk 'length > 80 { exit 1 }' out || say 'help is wider than 80 columns'
for option in data command file interactive repl tui plain json dry-run \
    threads seed color ascii no-state quiet help version; do
	has out "--$option"
	has "$PARE_SOURCE/man/pare.1" "Fl -$option"
done
# And every option of the manual is one of those.
sed -n 's/^\.It .*Fl -\([a-z-]*\).*/\1/p' "$PARE_SOURCE/man/pare.1" >options
[ "$(wc -l <options)" -ge 17 ] || say 'the manual lists few options'
while read -r option; do
	has out "--$option"
done <options
for section in NAME SYNOPSIS DESCRIPTION OPTIONS COMMANDS KEYS 'EXIT STATUS' \
    ENVIRONMENT FILES EXAMPLES 'SEE ALSO'; do
	has "$PARE_SOURCE/man/pare.1" "^\.Sh $section$"
done
run 0 -V
has out '^pare [0-9]+\.[0-9]+'
for library in OpenBLAS ncurses readline Jansson utf8proc; do
	has out "$library"
done

# Usage errors: status 2, one line, nothing on standard output.
for words in --nope -Z --threads --threads=x --threads=-1 --seed=1.5 \
    --color=pink --json=1 '--json -I' 'tiny.json tiny.json'; do
	# shellcheck disable=SC2086
	run 2 $words
	[ ! -s out ] || say "pare $words prints"
	[ "$(wc -l <err)" -eq 1 ] || say "pare $words: not one line"
	has err '^pare: .*\(pare --help\)$'
done

# The same commands by each way give the same bytes.
printf 'history\nshow by=kind\n' >s.pare
run 0 tiny.json -c history -c 'show by=kind'
mv out first
run 0 tiny.json -f s.pare
cmp first out || say '-f differs from -c'
"$PARE" tiny.json <s.pare >out || say 'standard input fails'
cmp first out || say 'standard input differs from -c'
"$PARE" tiny.json -f - <s.pare >out || say '-f - fails'
cmp first out || say '-f - differs from -c'
run 0 tiny.json -c history -f s.pare -c history
[ "$(grep -c 'as opened' out)" -eq 3 ] || say '-c and -f are not in order'

# Help of every command and op.
run 0 -c help
sed -n 's/^  \([a-z][a-z]*\( [a-z][a-z]*\)\{0,1\}\)  .*/\1/p' out >names
[ "$(wc -l <names)" -gt 25 ] || say 'help lists few commands'
while read -r name; do
	run 0 -c "help $name"
	head -n 1 out | grep -q "^$name" || say "help $name begins otherwise"
	awk 'length > 80 { exit 1 }' out || say "help $name is wide"
done <names

# No command: the line of the model. --json: one document.
run 0 tiny.json
has out '^tiny: BERT, 3 layers of 4 heads, 16 wide\.'
lacks out "$esc"
lacks err .
# Nor is a terminal needed anywhere.
if command -v setsid >/dev/null; then
	setsid -w "$PARE" tiny.json -c info </dev/null >out 2>err ||
		say 'it needs a terminal'
	has out '^model +tiny'
fi
run 0 --json tiny.json
[ "$(wc -l <out)" -eq 1 ] || say 'not one document'
has out '^\{"command":"open tiny.json","ok":true'

# Errors name the line and stop the batch.
run 1 tiny.json -c history -c bogus -c history
has err '^pare: -c 2: '
[ "$(grep -c 'as opened' out)" -eq 1 ] || say 'commands ran after an error'
printf 'history\n\n# no command\nbogus\nhistory\n' >bad.pare
run 1 tiny.json -f bad.pare
has err '^pare: bad.pare:4: '
run 3 tiny.json -f missing.pare
run 3 missing -c info
has err "^pare: cannot open 'missing'"
run 3 samples/reviews/config.json -d missing.tsv -c info
run 3 "$dir" -c info
printf '{' >broken.json
run 3 broken.json -c info
run 4 tiny.json -c 'expect params < 1'
run 0 tiny.json -c 'expect params > 1'
run 0 tiny.json -c quit -c bogus

# Dry: nothing is written, not even the state folder's history.
run 0 -n tiny.json -c 'prune heads 25%' -c 'recipe r.pare'
[ ! -e r.pare ] || say 'a dry run wrote a file'

# Nothing is left in the state folder, and nothing at all with --no-state.
[ -z "$(find state -name '*.ndjson' 2>/dev/null)" ] || say 'a journal stayed'
rm -rf state
run 0 --no-state tiny.json -c 'prune heads 25%'
[ ! -e state ] || say '--no-state made a state folder'
[ -z "$(ls -A home)" ] || say 'something was written to the home folder'

# Colour and characters.
run 0 tiny.json -c show
lacks out "$esc"
run 0 --color=always tiny.json -c show
has out "$esc"
run 0 --ascii tiny.json -c show
LC_ALL=C grep -q '[^ -~]' out && say '--ascii has other characters'
LC_ALL=C run 0 tiny.json -c show
LC_ALL=C grep -q '[^ -~]' out && say 'LC_ALL=C has other characters'
for width in 40 60 80 120; do
	COLUMNS=$width run 0 --ascii tiny.json -c show -c info \
	    -c 'show by=tensor' -c set -c 'prune heads L0.h1' -c history
	awk -v w=$width 'length > w { print; exit 1 }' out ||
	    say "lines are longer than $width"
done

# A name from a file cannot steer the terminal.
sed 's/"no"/"n\\u001b[31mo"/' tiny.json >evil.json
run 0 evil.json -c info
lacks out "$esc"

# A reader that leaves is no error; a full disk is.
{ "$PARE" tiny.json -c 'show by=tensor' -c 'show by=tensor' 2>err || true; } |
    head -n 1 >/dev/null
[ ! -s err ] || say 'a closed pipe gives messages'
if [ -w /dev/full ]; then
	got=0
	"$PARE" tiny.json -c show >/dev/full 2>err </dev/null || got=$?
	[ $got -eq 1 ] || say "a full disk gives status $got"
	has err 'cannot write standard output'
fi

# Signals. The program says when it is ready by opening the FIFO.
mkfifo pipe
for pair in TERM:143 HUP:129; do
	"$PARE" tiny.json <pipe >out 2>err &
	pid=$!
	exec 9>pipe
	echo history >&9
	n=0
	until [ -s out ] || [ $n -gt 200 ]; do
		n=$((n + 1))
		sleep 0.05
	done
	kill -"${pair%:*}" $pid
	got=0
	wait $pid || got=$?
	exec 9>&-
	[ $got -eq "${pair#*:}" ] || say "SIG${pair%:*} gives status $got"
done
# SIGINT while it waits, and while it works.
if command -v timeout >/dev/null; then
	exec 9<>pipe
	got=0
	timeout --preserve-status -k 20 -s INT 1 "$PARE" tiny.json <pipe \
	    >out 2>err || got=$?
	[ $got -eq 130 ] || say "SIGINT while waiting gives status $got"
	exec 9>&-
	got=0
	timeout --preserve-status -k 20 -s INT 2 "$PARE" \
	    -c 'open samples/reviews/config.json weights=random' \
	    -c 'latency runs=100000' -c history >out 2>err </dev/null ||
	    got=$?
	[ $got -eq 130 ] || say "SIGINT while working gives status $got"
	lacks out 'as opened'
fi
exit $bad

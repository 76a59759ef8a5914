/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Curses works out what to send; this file keeps a copy of what was shown and
 * gives curses only the cells that differ. Colours are foregrounds on the
 * terminal's own background, so that light and dark terminals both work.
 *
 * While the screen is on, standard error goes to a file in memory, for a
 * message of a library would spoil the picture; it is shown when the screen
 * closes.
 */
#include "ui/tui/screen.h"

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>

/* Words of curses that would get in the way. */
#undef lines
#undef columns

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include <utf8proc.h>

#include "base/mem.h"
#include "ui/tui/keys.h"

enum { TAIL_MAX = 4096, PASTE_MAX = 1 << 16, ESC_DELAY = 25 };

/* Codes for sequences that curses has no name for. */
enum { CODE_MOUSE = KEY_F(60), CODE_MOUSE_OLD, CODE_PASTE, CODE_PASTE_END };

const char *const screen_theme_names[THEME_COUNT + 1] = { "default",
	"contrast", "mono", NULL };

/* A style: foreground among 256 and among 8 colours (-1: the terminal's own),
 * and attributes. */
struct look_row {
	short many, few;
	attr_t attr;
};

static const struct look_row theme_rows[2][STYLE_COUNT] = {
	[THEME_DEFAULT] = {
		[STYLE_NORMAL] = { -1, -1, 0 },
		[STYLE_TITLE] = { -1, -1, A_BOLD },
		[STYLE_DIM] = { -1, -1, A_DIM },
		[STYLE_BAR] = { 37, COLOR_CYAN, 0 },
		[STYLE_GOOD] = { 33, COLOR_BLUE, A_BOLD },
		[STYLE_WARN] = { 172, COLOR_YELLOW, 0 },
		[STYLE_ERROR] = { 160, COLOR_RED, A_BOLD },
		[STYLE_HINT] = { -1, -1, 0 },
		[STYLE_KEY] = { 33, COLOR_BLUE, A_BOLD },
		[STYLE_CHANGED] = { 172, COLOR_YELLOW, 0 },
		[STYLE_TOP] = { -1, -1, A_BOLD },
		/* One hue, so that order is lightness. */
		[STYLE_HEAT0] = { 244, -1, A_DIM },
		{ 24, COLOR_BLUE, 0 }, { 25, COLOR_BLUE, 0 },
		{ 31, COLOR_BLUE, 0 }, { 37, COLOR_CYAN, 0 },
		{ 72, COLOR_CYAN, 0 }, { 107, COLOR_CYAN, 0 },
		{ 143, COLOR_YELLOW, 0 }, { 178, COLOR_YELLOW, 0 },
		{ 208, COLOR_YELLOW, A_BOLD },
	},
	[THEME_CONTRAST] = {
		[STYLE_NORMAL] = { -1, -1, 0 },
		[STYLE_TITLE] = { -1, -1, A_BOLD | A_UNDERLINE },
		[STYLE_DIM] = { -1, -1, 0 },
		[STYLE_BAR] = { -1, -1, A_BOLD },
		[STYLE_GOOD] = { 27, COLOR_BLUE, A_BOLD },
		[STYLE_WARN] = { 172, COLOR_YELLOW, A_BOLD },
		[STYLE_ERROR] = { 160, COLOR_RED, A_BOLD | A_UNDERLINE },
		[STYLE_HINT] = { -1, -1, A_BOLD },
		[STYLE_KEY] = { -1, -1, A_BOLD | A_UNDERLINE },
		[STYLE_CHANGED] = { -1, -1, A_BOLD },
		[STYLE_TOP] = { -1, -1, A_BOLD },
		[STYLE_HEAT0] = { -1, -1, 0 },
		{ -1, -1, 0 }, { -1, -1, 0 }, { -1, -1, 0 }, { -1, -1, 0 },
		{ -1, -1, A_BOLD }, { -1, -1, A_BOLD }, { -1, -1, A_BOLD },
		{ -1, -1, A_BOLD }, { -1, -1, A_BOLD },
	},
};

static struct {
	SCREEN *term;
	bool on, ascii, raw;
	bool has_mouse, mouse;	/* it has one; it is wanted */
	enum screen_theme theme;
	enum look_color choice;
	attr_t attr[STYLE_COUNT];
	struct cells shown;
	int saved_err, log;	/* standard error as it was; what it is now */
} scr = { .saved_err = -1, .log = -1 };

/* Modes that terminals have and their descriptions do not name. */
static const char mode_paste_on[] = "\033[?2004h";
static const char mode_paste_off[] = "\033[?2004l";
static const char mode_mouse_on[] = "\033[?1000h\033[?1006h";
static const char mode_mouse_off[] = "\033[?1006l\033[?1000l";

/* What a dying process needs: all of it ready, for there is no time to ask. */
static struct {
	volatile sig_atomic_t armed;
	struct termios tty;
	char out[256];
	size_t n;
	int saved_err;
} last;

static const int fatal[] = { SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGBUS,
	SIGQUIT };
enum { NFATAL = sizeof(fatal) / sizeof(fatal[0]) };
static struct sigaction fatal_old[NFATAL];

/* ---- dying --------------------------------------------------------------- */

/* Only what a signal handler may call. */
static void
give_back(void)
{
	if (!last.armed)
		return;
	last.armed = 0;
	if (write(STDOUT_FILENO, last.out, last.n) < 0)
		errno = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &last.tty);
	if (last.saved_err >= 0)
		dup2(last.saved_err, STDERR_FILENO);
}

static void
on_fatal(int sig)
{
	give_back();
	for (int i = 0; i < NFATAL; i++)
		if (fatal[i] == sig)
			sigaction(sig, &fatal_old[i], NULL);
	raise(sig);
}

/* SIGBUS may have a handler that mends what it is for; it keeps it. */
static void
catch_fatal(void)
{
	struct sigaction sa = { 0 };

	sa.sa_handler = on_fatal;
	sigemptyset(&sa.sa_mask);
	for (int i = 0; i < NFATAL; i++) {
		sigaction(fatal[i], NULL, &fatal_old[i]);
		if (fatal[i] != SIGBUS || fatal_old[i].sa_handler == SIG_DFL)
			sigaction(fatal[i], &sa, NULL);
	}
}

/* Not where somebody has put a handler in front of ours meanwhile. */
static void
release_fatal(void)
{
	struct sigaction now;

	for (int i = 0; i < NFATAL; i++)
		if (sigaction(fatal[i], NULL, &now) == 0 &&
		    now.sa_handler == on_fatal)
			sigaction(fatal[i], &fatal_old[i], NULL);
}

/* Without the waits of old terminals, "$<5>". */
static void
add_last(const char *s)
{
	while (s != NULL && *s != '\0' && last.n < sizeof(last.out)) {
		const char *end = s[0] == '$' && s[1] == '<' ?
		    strchr(s, '>') : NULL;

		if (end != NULL)
			s = end + 1;
		else
			last.out[last.n++] = *s++;
	}
}

static void
add_cap(const char *name)
{
	const char *s = tigetstr(name);

	if (s != (const char *)-1)
		add_last(s);
}

/* The screen that was there before comes back by itself. */
static bool
has_other_screen(void)
{
	const char *s = tigetstr("smcup");

	return s != NULL && s != (const char *)-1 && *s != '\0';
}

/* What gives the terminal back, for the size it has. */
static void
write_last(void)
{
	last.armed = 0;
	last.n = 0;
	add_last(mode_paste_off);
	if (scr.has_mouse)
		add_last(mode_mouse_off);
	add_cap("sgr0");
	if (!has_other_screen()) {
		add_last(tiparm(tigetstr("cup"), LINES - 1, 0));
		add_cap("el");
	}
	add_cap("rmkx");
	add_cap("cnorm");
	add_cap("rmcup");
	last.armed = 1;
}

static void
arm(void)
{
	last.saved_err = scr.saved_err;
	write_last();
	mem_set_die_hook(give_back);
	catch_fatal();
}

/* ---- standard error ------------------------------------------------------ */

static void
divert_err(void)
{
	fflush(stderr);
	scr.log = memfd_create("pare-messages", MFD_CLOEXEC);
	if (scr.log < 0)
		return;
	scr.saved_err = dup(STDERR_FILENO);
	if (scr.saved_err >= 0)
		dup2(scr.log, STDERR_FILENO);
}

static void
return_err(void)
{
	struct look l;
	char buf[TAIL_MAX + 1], *clean, *save = NULL, *line;
	off_t size;
	ssize_t n;

	if (scr.saved_err < 0)
		return;
	fflush(stderr);
	dup2(scr.saved_err, STDERR_FILENO);
	close(scr.saved_err);
	scr.saved_err = -1;
	size = lseek(scr.log, 0, SEEK_END);
	n = pread(scr.log, buf, TAIL_MAX, size > TAIL_MAX ? size - TAIL_MAX :
	    0);
	close(scr.log);
	buf[n > 0 ? n : 0] = '\0';
	look_init(&l, STDERR_FILENO, LOOK_NEVER, scr.ascii);
	for (line = strtok_r(buf, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save)) {
		clean = look_clean(&l, line);
		fprintf(stderr, "%s\n", clean);
		free(clean);
	}
}

/* ---- opening and closing ------------------------------------------------- */

const char *
screen_library(void)
{
	return curses_version();
}

bool
screen_usable(char why[128])
{
	const char *term = getenv("TERM"), *cup;
	int rc;

	why[0] = '\0';
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return false;
	if (term == NULL || *term == '\0') {
		snprintf(why, 128, "TERM is not set");
		return false;
	}
	if (setupterm(term, STDOUT_FILENO, &rc) != OK) {
		snprintf(why, 128, "there is no description of the terminal "
		    "%.60s", term);
		return false;
	}
	cup = tigetstr("cup");
	if (cup == NULL || cup == (const char *)-1)
		snprintf(why, 128, "the terminal %.60s cannot move its cursor",
		    term);
	del_curterm(cur_term);
	return why[0] == '\0';
}

/* Asks for colours when they are first wanted: a terminal that is to show none
 * is sent nothing of the kind. */
static bool
can_color(void)
{
	static bool asked, can;

	if (!asked)
		can = has_colors() && start_color() == OK &&
		    use_default_colors() == OK && COLORS >= 8;
	asked = true;
	return can;
}

static bool
wants_color(enum look_color color)
{
	const char *no = getenv("NO_COLOR");

	return color == LOOK_ALWAYS ||
	    (color == LOOK_AUTO && (no == NULL || *no == '\0'));
}

static void
set_styles(void)
{
	bool color = scr.theme != THEME_MONO && wants_color(scr.choice) &&
	    can_color();
	enum screen_theme t = scr.theme == THEME_MONO ? THEME_DEFAULT :
	    scr.theme;

	for (int i = 0; i < STYLE_COUNT; i++) {
		const struct look_row *row = &theme_rows[t][i];
		short fg = COLORS >= 256 ? row->many : row->few;

		scr.attr[i] = row->attr;
		if (!color || fg < 0)
			continue;
		init_pair((short)(i + 1), fg, -1);
		scr.attr[i] |= (attr_t)COLOR_PAIR(i + 1);
	}
}

/* Mouse and paste as they are wanted now, or both off. */
static void
set_modes(bool on)
{
	fputs(on ? mode_paste_on : mode_paste_off, stdout);
	if (scr.has_mouse)
		fputs(on && scr.mouse && !scr.raw ? mode_mouse_on :
		    mode_mouse_off, stdout);
	fflush(stdout);
}

/* Where no other screen comes back the picture stays, but for the last two
 * rows: the shell goes on there. */
static void
leave_screen(void)
{
	set_modes(false);
	if (!has_other_screen()) {
		move(LINES > 1 ? LINES - 2 : 0, 0);
		clrtobot();
		refresh();
		cells_free(&scr.shown);
	}
	endwin();
}

static void define_keys(void);

/* Ctrl-C as a key among others: a signal would overtake what was typed before
 * it, or come after what was typed behind it. */
static void
take_interrupt_key(void)
{
	struct termios tty;

	if (tcgetattr(STDIN_FILENO, &tty) != 0)
		return;
	tty.c_cc[VINTR] = _POSIX_VDISABLE;
	tcsetattr(STDIN_FILENO, TCSANOW, &tty);
	def_prog_mode();
}

static void
setup(enum look_color color)
{
	const char *mouse = tigetstr("kmous");

	scr.has_mouse = mouse != NULL && mouse != (const char *)-1;
	cbreak();
	noecho();
	nonl();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	intrflush(stdscr, FALSE);
	leaveok(stdscr, FALSE);
	curs_set(0);
	define_keys();
	take_interrupt_key();
	scr.choice = color;
	set_styles();
	set_modes(true);
}

bool
screen_open(enum look_color color, bool ascii)
{
	scr.ascii = ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	tcgetattr(STDIN_FILENO, &last.tty);
	divert_err();
	set_escdelay(ESC_DELAY);
	scr.term = newterm(NULL, stdout, stdin);
	if (scr.term == NULL) {
		return_err();
		return false;
	}
	set_term(scr.term);
	scr.on = true;
	setup(color);
	arm();
	screen_resize();
	return true;
}

void
screen_close(void)
{
	if (!scr.on)
		return;
	leave_screen();
	scr.on = false;
	delscreen(scr.term);
	scr.term = NULL;
	last.armed = 0;
	mem_set_die_hook(NULL);
	release_fatal();
	return_err();
	cells_free(&scr.shown);
}

bool
screen_ascii(void)
{
	return scr.ascii;
}

void
screen_theme(enum screen_theme theme, enum look_color color)
{
	if (theme == scr.theme && color == scr.choice)
		return;
	scr.theme = theme;
	scr.choice = color;
	set_styles();
	cells_free(&scr.shown);
}

void
screen_mouse(bool on)
{
	if (on == scr.mouse)
		return;
	scr.mouse = on;
	set_modes(true);
}

void
screen_size(int *rows, int *cols)
{
	*rows = LINES > 0 ? LINES : 1;
	*cols = COLS > 0 ? COLS : 1;
}

void
screen_resize(void)
{
	struct winsize ws = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 0 &&
	    ws.ws_col > 0 && (ws.ws_row != LINES || ws.ws_col != COLS))
		resizeterm(ws.ws_row, ws.ws_col);
	if (last.armed)
		write_last();
	cells_free(&scr.shown);
}

/* Maybe in the background: touching the terminal then stops the process once
 * more, which is right. */
void
screen_resume(void)
{
	reset_prog_mode();
	refresh();
	curs_set(0);
	set_modes(true);
	screen_resize();
}

void
screen_suspend(void)
{
	leave_screen();
	kill(getpid(), SIGSTOP);
	screen_resume();
}

/* ---- showing ------------------------------------------------------------- */

static void
to_wide(const char *s, wchar_t out[8])
{
	int n = 0;

	while (*s != '\0' && n < 5) {
		utf8proc_int32_t v;
		utf8proc_ssize_t k = utf8proc_iterate(
		    (const utf8proc_uint8_t *)s, -1, &v);

		if (k <= 0)
			break;
		out[n++] = (wchar_t)v;
		s += k;
	}
	out[n] = L'\0';
}

static void
show_cell(int row, int col, const struct cell *p)
{
	attr_t attr = scr.attr[p->style & ~STYLE_SELECT];
	wchar_t text[8];
	cchar_t cc;

	if (p->width == 0)
		return;
	if ((p->style & STYLE_SELECT) != 0)
		attr = (attr & ~A_DIM) | A_REVERSE;
	to_wide(p->s, text);
	if (setcchar(&cc, text, attr & ~A_COLOR, (short)PAIR_NUMBER(attr),
	    NULL) == OK)
		mvadd_wch(row, col, &cc);
}

/* An empty buffer of that size: nothing in it is like what will come. */
static void
forget_shown(const struct cells *c)
{
	cells_init(&scr.shown, c->rows, c->cols, c->ascii);
	memset(scr.shown.cell, 0xff, (size_t)c->rows * (size_t)c->cols *
	    sizeof(*c->cell));
}

void
screen_show(const struct cells *c, bool all)
{
	size_t n = (size_t)c->rows * (size_t)c->cols;

	if (!scr.on)
		return;
	if (all)
		clearok(curscr, TRUE);
	if (all || scr.shown.rows != c->rows || scr.shown.cols != c->cols) {
		erase();
		forget_shown(c);
	}
	for (int i = 0; i < c->rows; i++)
		for (int j = 0; j < c->cols; j++) {
			const struct cell *p = cells_at(c, i, j);

			if (memcmp(p, cells_at(&scr.shown, i, j),
			    sizeof(*p)) != 0)
				show_cell(i, j, p);
		}
	memcpy(scr.shown.cell, c->cell, n * sizeof(*c->cell));
	curs_set(c->cursor_row >= 0);
	if (c->cursor_row >= 0)
		move(c->cursor_row, c->cursor_col);
	refresh();
}

/* ---- keys ---------------------------------------------------------------- */

static const struct {
	int code, key;
} key_codes[] = {
	{ KEY_UP, K_UP }, { KEY_DOWN, K_DOWN }, { KEY_LEFT, K_LEFT },
	{ KEY_RIGHT, K_RIGHT }, { KEY_HOME, K_HOME }, { KEY_END, K_END },
	{ KEY_PPAGE, K_PAGE_UP }, { KEY_NPAGE, K_PAGE_DOWN },
	{ KEY_BTAB, K_BACK_TAB }, { KEY_DC, K_DELETE }, { KEY_IC, K_INSERT },
	{ KEY_BACKSPACE, K_BACKSPACE }, { KEY_ENTER, K_ENTER },
	{ KEY_F(1), K_F1 }, { KEY_F(2), K_F2 }, { KEY_F(3), K_F3 },
	{ KEY_F(4), K_F4 }, { KEY_F(5), K_F5 }, { KEY_F(6), K_F6 },
	{ KEY_F(7), K_F7 }, { KEY_F(8), K_F8 }, { KEY_F(9), K_F9 },
	{ KEY_F(10), K_F10 },
};

static bool mouse_is_old;	/* how the one to be read is written */

static int
decode(int code)
{
	if (code == CODE_MOUSE || code == CODE_MOUSE_OLD) {
		mouse_is_old = code == CODE_MOUSE_OLD;
		return K_MOUSE;
	}
	if (code == CODE_PASTE)
		return K_PASTE;
	for (size_t i = 0; i < sizeof(key_codes) / sizeof(*key_codes); i++)
		if (key_codes[i].code == code)
			return key_codes[i].key;
	return K_UNKNOWN;
}

/* Nothing to read: because nobody types, or because nobody is there? */
static bool
is_gone(void)
{
	struct pollfd p = { STDIN_FILENO, POLLIN, 0 };
	int n = 0;

	if (poll(&p, 1, 0) <= 0)
		return false;
	if ((p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
		return true;
	return ioctl(STDIN_FILENO, FIONREAD, &n) != 0 || n == 0;
}

/* Terminals send cursor keys in two ways whatever their description says. */
static void
define_keys(void)
{
	static const struct {
		const char *text;
		int code;
	} more[] = {
		{ "\033[A", KEY_UP }, { "\033[B", KEY_DOWN },
		{ "\033[C", KEY_RIGHT }, { "\033[D", KEY_LEFT },
		{ "\033[H", KEY_HOME }, { "\033[F", KEY_END },
		{ "\033[1~", KEY_HOME }, { "\033[4~", KEY_END },
		{ "\033OA", KEY_UP }, { "\033OB", KEY_DOWN },
		{ "\033OC", KEY_RIGHT }, { "\033OD", KEY_LEFT },
		{ "\033OH", KEY_HOME }, { "\033OF", KEY_END },
		{ "\033[5~", KEY_PPAGE }, { "\033[6~", KEY_NPAGE },
	};

	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
		if (key_defined(more[i].text) == 0)
			define_key(more[i].text, more[i].code);
	define_key("\033[<", CODE_MOUSE);
	define_key("\033[M", CODE_MOUSE_OLD);
	define_key("\033[200~", CODE_PASTE);
	define_key("\033[201~", CODE_PASTE_END);
}

/* A sequence that nobody described, to its final byte: it is no Esc. What else
 * follows at once is a key of its own, typed while the loop was busy. */
static int
skip_sequence(void)
{
	wint_t c;
	int rc = get_wch(&c);

	if (rc == KEY_CODE_YES)
		ungetch((int)c);
	else if (rc == OK && c != '[' && c != 'O')
		unget_wch((wchar_t)c);
	if (rc != OK || (c != '[' && c != 'O'))
		return K_ESC;
	while (get_wch(&c) == OK && (c < 0x40 || c > 0x7e))
		;
	return K_UNKNOWN;
}

int
screen_key(bool *gone)
{
	wint_t c = 0;
	int rc = get_wch(&c);

	*gone = rc == ERR && is_gone();
	if (rc == ERR)
		return K_NONE;
	if (rc == KEY_CODE_YES)
		return decode((int)c);
	if (c == '\n')
		return K_ENTER;
	if (c == K_ESC)
		return skip_sequence();
	return c == 127 || c == 8 ? K_BACKSPACE : (int)c;
}

/* A character in the middle of a sequence, which may come in pieces; false:
 * there is none, or it is a key (*code). */
static bool
next_char(wint_t *c, int *code)
{
	int rc = get_wch(c);

	if (rc == ERR && screen_pending(100))
		rc = get_wch(c);
	*code = rc == KEY_CODE_YES ? (int)*c : 0;
	return rc == OK;
}

/* "button;column;row" and M or m, or three characters. */
struct mouse
screen_mouse_event(void)
{
	int n[3] = { 0 }, at = 0, code;
	wint_t c = 0;

	if (mouse_is_old) {
		for (; at < 3 && next_char(&c, &code); at++)
			n[at] = (int)c - 32;
		return mouse_decode(at == 3 ? n[0] : -1, n[1], n[2], true);
	}
	while (next_char(&c, &code) && c != 'M' && c != 'm')
		if (c == ';' && at < 2)
			at++;
		else if (c >= '0' && c <= '9' && n[at] < 100000)
			n[at] = n[at] * 10 + (int)(c - '0');
	return mouse_decode(at == 2 ? n[0] : -1, n[1], n[2], c == 'M');
}

void
screen_paste(struct str *out)
{
	utf8proc_uint8_t utf8[4];
	wint_t c = 0;
	int code;

	for (;;) {
		if (next_char(&c, &code)) {
			utf8proc_ssize_t n = utf8proc_encode_char(
			    (utf8proc_int32_t)c, utf8);

			if (out->n < PASTE_MAX)
				str_addn(out, (const char *)utf8, (size_t)n);
		} else if (code == 0 || code == CODE_PASTE_END) {
			return;
		}
	}
}

void
screen_raw(bool on)
{
	keypad(stdscr, on ? FALSE : TRUE);
	if (scr.raw == on || !scr.on)
		return;
	scr.raw = on;
	if (scr.mouse)
		set_modes(true);
}

/* Bytes that were looked at and not taken. */
static struct {
	int c[3], n;
} held;

/* In front of those. */
static void
hold_first(int c)
{
	memmove(held.c + 1, held.c, sizeof(held.c) - sizeof(*held.c));
	held.c[0] = c;
	held.n++;
}

/* The mouse is off in the prompt, but a report may have been under way. Looks
 * behind an Esc; what is no report is held. */
static bool
skip_report(void)
{
	int c;

	if (!scr.mouse || !screen_pending(ESC_DELAY))
		return false;
	c = getch();
	if (c == '[' && screen_pending(ESC_DELAY)) {
		c = getch();
		if (c == '<') {
			while (c != 'M' && c != 'm' && screen_pending(100))
				c = getch();
			return true;
		}
		held.c[held.n++] = '[';
	}
	held.c[held.n++] = c;
	return false;
}

int
screen_byte(bool *gone)
{
	int c;

	*gone = false;
	if (held.n > 0) {
		c = held.c[0];
		memmove(held.c, held.c + 1, sizeof(held.c) - sizeof(*held.c));
		held.n--;
		return c;
	}
	do
		c = getch();
	while (c == K_ESC && skip_report());
	*gone = c == ERR && is_gone();
	return c == ERR || c > 255 ? -1 : c;
}

int
screen_peek(void)
{
	bool gone;
	int c;

	if (held.n == 0 && !screen_pending(0))
		return -1;
	c = screen_byte(&gone);
	if (c >= 0)
		hold_first(c);
	return c;
}

bool
screen_pending(int ms)
{
	struct pollfd p = { STDIN_FILENO, POLLIN, 0 };

	return held.n > 0 ||
	    (poll(&p, 1, ms) > 0 && (p.revents & POLLIN) != 0);
}

void
screen_drop_input(void)
{
	flushinp();
}

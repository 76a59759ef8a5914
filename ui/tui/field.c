/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/tui/field.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void
field_set(struct field *f, const char *text)
{
	char *copy = xstrdup(text);

	free(f->text);
	f->text = copy;
}

void
field_free(struct field *f)
{
	free(f->text);
	f->text = NULL;
}

bool
field_is_default(const struct field *f)
{
	return strcmp(f->text, f->spec->dflt != NULL ? f->spec->dflt : "") ==
	    0;
}

bool
field_steps(const struct field *f)
{
	return f->spec->type != ARG_TEXT && f->spec->type != ARG_FILE &&
	    f->spec->type != ARG_STATE;
}

static bool
bounded(const struct arg_spec *s)
{
	return s->min != 0 || s->max != 0;
}

/* A number that is shown in percent. */
static bool
is_share(const struct arg_spec *s)
{
	return s->type == ARG_REAL && bounded(s) && s->min >= 0 && s->max <= 1;
}

/* ---- arrows ---- */

static void
step_choice(struct field *f, int dir)
{
	int n = 0, at = dir > 0 ? -1 : 0;

	while (f->spec->choices[n] != NULL) {
		if (strcmp(f->spec->choices[n], f->text) == 0)
			at = n;
		n++;
	}
	if (n > 0)
		field_set(f, f->spec->choices[(at + dir + n) % n]);
}

/* Below the least value lies "not given", where that is allowed. */
static bool
may_be_empty(const struct arg_spec *s)
{
	return (s->flags & ARG_REQUIRED) == 0 && s->dflt == NULL;
}

static void
step_int(struct field *f, int dir, bool far)
{
	const struct arg_spec *s = f->spec;
	double v, step = far ? 10 : 1;
	char text[32];
	int64_t i;

	if (!str_to_int(f->text, &i)) {
		if (!str_to_int(s->dflt != NULL ? s->dflt : "", &i))
			i = dir > 0 ? (int64_t)s->min : 0;
		snprintf(text, sizeof(text), "%lld", (long long)i);
		if (dir > 0 || s->dflt != NULL)
			field_set(f, text);
		return;
	}
	v = (double)i;
	/* In a wide range a far step doubles or halves. */
	if (far && s->max > 1000)
		v = dir > 0 ? (v < 1 ? 1 : v * 2) : floor(v / 2);
	else
		v += dir * step;
	if (bounded(s) && v < s->min) {
		if (may_be_empty(s) && (double)i == s->min) {
			field_set(f, "");
			return;
		}
		v = s->min;
	}
	if (bounded(s) && v > s->max)
		v = s->max;
	if (!(fabs(v) < 9e15))
		return;
	snprintf(text, sizeof(text), "%lld", (long long)v);
	field_set(f, text);
}

/* "45%"; least and most are shares. */
static void
step_share(struct field *f, double share, int dir, bool far, double least,
    double most)
{
	double step = far ? 0.25 : 0.05;
	/* To the next multiple of the step, so that 33% goes to 35%. */
	double k = share / step, next = dir > 0 ? floor(k + 1e-9) + 1 :
	    ceil(k - 1e-9) - 1, v = next * step;
	char text[32];

	if (v < least) {
		if (may_be_empty(f->spec) && share <= least + 1e-12) {
			field_set(f, "");
			return;
		}
		v = least;
	}
	if (v > most)
		v = most;
	snprintf(text, sizeof(text), "%.10g%%", 100 * v);
	field_set(f, text);
}

static void
step_amount(struct field *f, int dir, bool far)
{
	struct arg_value v;
	struct pare_err err;
	char text[32];

	if (arg_parse_value(f->spec, f->text, &v, &err) != PARE_OK) {
		if (dir > 0)
			field_set(f, "5%");
		return;
	}
	if (v.is_share) {
		step_share(f, v.d, dir, far, 0, 1);
	} else if (v.i == 0 && dir < 0) {
		if (may_be_empty(f->spec))
			field_set(f, "");
	} else if (v.i < INT64_MAX - 10) {
		int64_t next = v.i + dir * (far ? 10 : 1);

		snprintf(text, sizeof(text), "%lld",
		    (long long)(next < 0 ? 0 : next));
		field_set(f, text);
	}
	arg_value_free(&v);
}

static void
step_real(struct field *f, int dir, bool far)
{
	const struct arg_spec *s = f->spec;
	struct arg_value v;
	struct pare_err err;
	char text[32];
	double to;

	if (arg_parse_value(s, f->text, &v, &err) != PARE_OK) {
		if (s->dflt != NULL)
			field_set(f, s->dflt);
		else if (dir > 0)
			field_set(f, is_share(s) ? "50%" : "1");
		return;
	}
	if (is_share(s)) {
		step_share(f, v.d, dir, far, s->min, s->max);
	} else {
		double step = v.d != 0 ? pow(10, floor(log10(fabs(v.d)))) : 1;

		to = v.d + dir * (far ? 5 : 1) * step;
		if (bounded(s) && to < s->min)
			to = s->min;
		if (bounded(s) && to > s->max)
			to = s->max;
		snprintf(text, sizeof(text), "%.6g", to);
		field_set(f, text);
	}
	arg_value_free(&v);
}

/* Around the list; from a text that is not in it to its beginning. */
static void
step_target(struct field *f, int dir, char (*targets)[96], int n)
{
	int at = -1;

	for (int i = 0; i < n; i++)
		if (strcmp(targets[i], f->text) == 0)
			at = i;
	if (n > 0)
		field_set(f, targets[at < 0 ? 0 : (at + dir + n) % n]);
}

void
field_step(struct field *f, int dir, bool far, char (*targets)[96],
    int ntargets)
{
	switch (f->spec->type) {
	case ARG_INT: step_int(f, dir, far); break;
	case ARG_REAL: step_real(f, dir, far); break;
	case ARG_AMOUNT: step_amount(f, dir, far); break;
	case ARG_CHOICE: step_choice(f, dir); break;
	case ARG_BOOL:
		field_set(f, strcmp(f->text, "on") == 0 ? "off" : "on");
		break;
	case ARG_TARGET: step_target(f, dir, targets, ntargets); break;
	default: break;
	}
	f->fresh = true;
}

/* ---- typing ---- */

/* A letter in a choice goes to the next word that begins with it. */
static void
jump_choice(struct field *f, int key)
{
	int n = 0, at = -1;

	while (f->spec->choices[n] != NULL) {
		if (strcmp(f->spec->choices[n], f->text) == 0)
			at = n;
		n++;
	}
	for (int i = 1; i <= n; i++) {
		const char *s = f->spec->choices[(at + i) % n];

		if (tolower((unsigned char)s[0]) == tolower(key)) {
			field_set(f, s);
			return;
		}
	}
}

void
field_erase(struct field *f)
{
	size_t n = strlen(f->text);

	while (n > 0 && ((unsigned char)f->text[--n] & 0xc0) == 0x80)
		;
	f->text[n] = '\0';
	f->fresh = false;
}

/* A number, whole or begun: -12.5e-3% */
static bool
is_number(const char *s, bool whole, bool negative)
{
	const char *digits = "0123456789";

	s += negative && *s == '-';
	s += strspn(s, digits);
	if (whole)
		return *s == '\0';
	if (*s == '.')
		s += 1 + strspn(s + 1, digits);
	if (*s == 'e') {
		s += 1 + (s[1] == '-' || s[1] == '+');
		s += strspn(s, digits);
	}
	s += *s == '%';
	return *s == '\0';
}

/* Whether a text can be, or become by typing on, a value of s. */
static bool
may_become(const struct arg_spec *s, const char *text)
{
	bool percent = strchr(text, '%') != NULL;
	double v = strtod(text, NULL);

	switch (s->type) {
	case ARG_INT:
		return is_number(text, true, s->min < 0) && (!bounded(s) ||
		    v <= s->max);
	case ARG_AMOUNT:
		return is_number(text, false, false) && (!percent || v <= 100);
	case ARG_REAL:
		/* "50" may become "50%". */
		return is_number(text, false, !bounded(s) || s->min < 0) &&
		    (!bounded(s) || v <= (is_share(s) || percent ?
		    100 * s->max : s->max));
	default:
		return true;
	}
}

bool
field_type(struct field *f, int key)
{
	char *text;
	bool ok;

	if (f->spec->type == ARG_CHOICE) {
		jump_choice(f, key);
		return true;
	}
	if (f->spec->type == ARG_BOOL) {
		if (key == 'y' || key == 'n')
			field_set(f, key == 'y' ? "on" : "off");
		else if (key == ' ')
			field_set(f, strcmp(f->text, "on") == 0 ? "off" :
			    "on");
		return true;
	}
	text = str_format("%s%c", f->fresh ? "" : f->text, key);
	ok = strlen(text) <= 500 && may_become(f->spec, text);
	if (ok) {
		field_set(f, text);
		f->fresh = false;
	}
	free(text);
	return ok;
}

/* ---- leaving ---- */

static bool
parses(const struct arg_spec *s, const char *text)
{
	struct arg_value v;
	struct pare_err err;

	if (arg_parse_value(s, text, &v, &err) != PARE_OK)
		return false;
	arg_value_free(&v);
	return true;
}

/* The nearest value to a number that is out of range, and "30" as "30%" where
 * only a share can be meant. */
static char *
nearest(const struct arg_spec *s, const char *text)
{
	char *as_share = str_format("%s%%", text);
	double v = strtod(text, NULL);

	if (s->type != ARG_INT && parses(s, as_share))
		return as_share;
	free(as_share);
	if (!bounded(s) || text[strcspn(text, "0123456789")] == '\0')
		return xstrdup(s->dflt != NULL ? s->dflt : "");
	v /= strchr(text, '%') != NULL ? 100 : 1;
	v = v < s->min ? s->min : v > s->max ? s->max : v;
	return is_share(s) ? str_format("%.10g%%", 100 * v) :
	    str_format("%.16g", v);
}

bool
field_settle(struct field *f)
{
	const struct arg_spec *s = f->spec;
	char *text;

	f->fresh = true;
	/* Nothing said is the default. */
	if (f->text[0] == '\0' && s->dflt != NULL)
		field_set(f, s->dflt);
	if (f->text[0] == '\0' || (s->type != ARG_INT && s->type != ARG_REAL &&
	    s->type != ARG_AMOUNT) || parses(s, f->text))
		return false;
	text = nearest(s, f->text);
	field_set(f, text);
	free(text);
	return true;
}

/* ---- words ---- */

void
field_range(const struct arg_spec *s, struct str *out)
{
	if (s->type == ARG_CHOICE)
		for (int i = 0; s->choices[i] != NULL; i++)
			str_addf(out, "%s%s", i > 0 ? "|" : "", s->choices[i]);
	else if (s->type == ARG_AMOUNT)
		str_addf(out, "0%% to 100%%, or a count%s%s", s->unit !=
		    NULL ? " of " : "", s->unit != NULL ? s->unit : "");
	else if (s->type == ARG_BOOL)
		str_add(out, "on|off");
	else if (is_share(s))
		str_addf(out, "%.6g%% to %.7g%%", 100 * s->min, 100 * s->max);
	else if (bounded(s) && s->max >= 1e15)
		str_addf(out, "%.6g or more", s->min);
	else if (bounded(s))
		str_addf(out, "%.6g to %.7g", s->min, s->max);
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/settings.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "tensor/kernel.h"

static const char *const color_choices[] = { "auto", "always", "never", NULL };
static const char *const theme_choices[] = { "default", "contrast", "mono",
	NULL };

static const char *const column_choices[] = { "params", "share", "bytes",
	"bits", "form", "sparsity", "macs", "ms", "importance", "bar", NULL };

/* auto, then the names of enum cpu_level. */
static const char *const kernel_choices[] = { "auto", "scalar", "avx2",
	"avx512", "vnni", "amx", NULL };

/* The names of enum kernel_precision. */
static const char *const precision_choices[] = { "exact", "fast", NULL };

const struct arg_spec setting_table[SET_COUNT + 1] = {
	[SET_THREADS] = { "threads", ARG_INT, 0, 0, 256, "0", NULL, "threads",
	    "threads of all computing; 0 is one a processor" },
	[SET_KERNELS] = { "kernels", ARG_CHOICE, 0, 0, 0, "auto",
	    kernel_choices, NULL, "best instructions that products may use; "
	    "auto is all the processor has" },
	[SET_PRECISION] = { "precision", ARG_CHOICE, 0, 0, 0, "fast",
	    precision_choices, NULL, "fast: where the processor multiplies "
	    "bfloat16, inputs of matrices stored so are rounded to it, and "
	    "with amx float32 products are split in bfloat16 parts; exact: "
	    "both are products of float32" },
	[SET_SEED] = { "seed", ARG_INT, 0, 0, 9007199254740992.0, "0", NULL,
	    NULL, "seed of every command that draws at random and is given "
	    "none" },
	[SET_SEQ] = { "seq", ARG_INT, 0, 1, 1048576, "128", NULL, "tokens",
	    "length of the sequence that macs_per_token and latency are for" },
	[SET_LIVE] = { "live", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "evaluate after every change, in an interactive front end with "
	    "samples loaded" },
	[SET_CACHE] = { "cache", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "recall results, and inputs of layers so that only layers from "
	    "a change on run again; a size such as 2G limits the memory for "
	    "those, on is 1G or a quarter of the machine's, the lesser" },
	[SET_COLOR] = { "color", ARG_CHOICE, 0, 0, 0, "auto", color_choices,
	    NULL, "colours on the terminal" },
	[SET_PAGER] = { "pager", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "show long output through $PAGER" },
	[SET_THEME] = { "theme", ARG_CHOICE, 0, 0, 0, "default", theme_choices,
	    NULL, "colours of the workbench" },
	[SET_MOUSE] = { "mouse", ARG_BOOL, 0, 0, 0, "off", NULL, NULL,
	    "the workbench follows clicks and the wheel; the terminal then "
	    "selects text with Shift held" },
	[SET_COLUMNS] = { "columns", ARG_CHOICE, ARG_LIST, 0, 0,
	    "params,bytes,form,share,bar", column_choices, NULL, "columns of "
	    "the module tree in the workbench, from left to right" },
	[SET_COUNT] = { NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL },
};

struct settings {
	struct arg_value v[SET_COUNT];
};

/* Threads before anyone set them; 0: not asked yet. */
static int processors;

struct settings *
settings_new(void)
{
	struct settings *s = xcalloc(1, sizeof(*s));
	struct pare_err err;

	if (processors == 0)
		processors = kernel_threads();
	for (int k = 0; k < SET_COUNT; k++)
		if (arg_parse_value(&setting_table[k], setting_table[k].dflt,
		    &s->v[k], &err) != PARE_OK)
			s->v[k].s = xstrdup(setting_table[k].dflt);
	return s;
}

void
settings_free(struct settings *s)
{
	if (s == NULL)
		return;
	for (int k = 0; k < SET_COUNT; k++)
		arg_value_free(&s->v[k]);
	free(s);
}

struct settings *
settings_copy(const struct settings *s)
{
	struct settings *c = xcalloc(1, sizeof(*c));

	for (int k = 0; k < SET_COUNT; k++) {
		c->v[k] = s->v[k];
		c->v[k].s = xstrdup(settings_text(s, (enum setting)k));
	}
	return c;
}

enum pare_rc
settings_find(const char *name, enum setting *out, struct pare_err *err)
{
	const char *names[SET_COUNT + 1];
	const char *near;

	for (int k = 0; k < SET_COUNT; k++) {
		if (strcmp(setting_table[k].name, name) == 0) {
			*out = (enum setting)k;
			return PARE_OK;
		}
		names[k] = setting_table[k].name;
	}
	names[SET_COUNT] = NULL;
	near = str_nearest(name, names);
	err_set(err, PARE_EUSER, "there is no setting '%s'", name);
	if (near != NULL)
		return err_hint(err, "did you mean '%s'?", near);
	return err_hint(err, "set");
}

/* "2G", "512M", "1.5GiB": bytes; false for anything else. */
static bool
parse_size(const char *text, int64_t *out)
{
	static const char units[] = "KMGT";
	size_t digits = strspn(text, "0123456789."), n = strlen(text);
	const char *unit = n > digits && n - digits <= 3 ?
	    strchr(units, toupper((unsigned char)text[digits])) : NULL;
	char number[32];
	double v;

	if (unit == NULL || digits >= sizeof(number) ||
	    (n - digits > 1 && strcasecmp(text + digits + 1, "B") != 0 &&
	    strcasecmp(text + digits + 1, "iB") != 0))
		return false;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (!str_to_double(number, &v))
		return false;
	v = ldexp(v, 10 * (int)(unit - units + 1));
	if (v > 0x1p60)
		return false;
	*out = (int64_t)v;
	return true;
}

/* on, off or a size. One byte would be on, and is no size to cache in. */
static enum pare_rc
parse_cache(const char *text, struct arg_value *out, struct pare_err *err)
{
	int64_t bytes;
	enum pare_rc rc;

	if (!parse_size(text, &bytes)) {
		rc = arg_parse_value(&setting_table[SET_CACHE], text, out,
		    err);
		if (rc != PARE_OK)
			err_hint(err, "a size is fine too: set cache 2G");
		return rc;
	}
	*out = (struct arg_value){ .set = true, .has = true,
		.i = bytes > 1 ? bytes : 0, .s = xstrdup(text) };
	return PARE_OK;
}

enum pare_rc
settings_set(struct settings *s, const char *name, const char *value,
    struct pare_err *err)
{
	struct arg_value v = { 0 };
	enum setting k;
	enum pare_rc rc;

	rc = settings_find(name, &k, err);
	if (rc != PARE_OK)
		return rc;
	rc = k == SET_CACHE ? parse_cache(value, &v, err) :
	    arg_parse_value(&setting_table[k], value, &v, err);
	if (rc != PARE_OK)
		return rc;
	arg_value_free(&s->v[k]);
	s->v[k] = v;
	if (k == SET_THREADS || k == SET_KERNELS || k == SET_PRECISION)
		settings_apply(s);
	return PARE_OK;
}

void
settings_apply(const struct settings *s)
{
	int64_t n = s->v[SET_THREADS].i;

	const char *kernels = settings_text(s, SET_KERNELS);
	enum cpu_level most = CPU_LEVELS - 1;

	kernel_set_threads(n != 0 ? (int)n : processors);
	for (int k = 0; k < CPU_LEVELS; k++)
		if (strcmp(kernels, cpu_level_name((enum cpu_level)k)) == 0)
			most = (enum cpu_level)k;
	cpu_limit(most);
	kernel_set_precision(strcmp(settings_text(s, SET_PRECISION),
	    precision_choices[KERNEL_EXACT]) == 0 ? KERNEL_EXACT : KERNEL_FAST);
}

int64_t
settings_int(const struct settings *s, enum setting k)
{
	return s->v[k].i;
}

bool
settings_bool(const struct settings *s, enum setting k)
{
	return s->v[k].i != 0;
}

int64_t
settings_cache(const struct settings *s)
{
	static const int64_t most = INT64_C(1) << 30;
	int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	if (s->v[SET_CACHE].i != 1)
		return s->v[SET_CACHE].i;
	return pages > 0 && page > 0 && pages < most / page * 4 ?
	    pages * page / 4 : most;
}

const char *
settings_text(const struct settings *s, enum setting k)
{
	return s->v[k].s != NULL ? s->v[k].s : setting_table[k].dflt;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "tensor/kernel.h"

static const char *const color_choices[] = { "auto", "always", "never", NULL };
static const char *const theme_choices[] = { "default", "contrast", "mono",
	NULL };

/* auto, then the names of enum cpu_level. */
static const char *const kernel_choices[] = { "auto", "scalar", "avx2",
	"avx512", "vnni", "amx", NULL };

const struct arg_spec setting_table[SET_COUNT + 1] = {
	[SET_THREADS] = { "threads", ARG_INT, 0, 0, 256, "0", NULL, "threads",
	    "threads of all computing; 0 is one a processor" },
	[SET_KERNELS] = { "kernels", ARG_CHOICE, 0, 0, 0, "auto",
	    kernel_choices, NULL, "best instructions that products may use; "
	    "auto is all the processor has" },
	[SET_SEED] = { "seed", ARG_INT, 0, 0, 9007199254740992.0, "0", NULL,
	    NULL, "seed of every command that draws at random and is given "
	    "none" },
	[SET_SEQ] = { "seq", ARG_INT, 0, 1, 1048576, "128", NULL, "tokens",
	    "length of the sequence that macs_per_token and latency are for" },
	[SET_LIVE] = { "live", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "evaluate after every change, in an interactive front end with "
	    "samples loaded" },
	[SET_CACHE] = { "cache", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "recall results that were measured before for the same weights" },
	[SET_COLOR] = { "color", ARG_CHOICE, 0, 0, 0, "auto", color_choices,
	    NULL, "colours on the terminal" },
	[SET_PAGER] = { "pager", ARG_BOOL, 0, 0, 0, "on", NULL, NULL,
	    "show long output through $PAGER" },
	[SET_THEME] = { "theme", ARG_CHOICE, 0, 0, 0, "default", theme_choices,
	    NULL, "colours of the workbench" },
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
	rc = arg_parse_value(&setting_table[k], value, &v, err);
	if (rc != PARE_OK)
		return rc;
	arg_value_free(&s->v[k]);
	s->v[k] = v;
	if (k == SET_THREADS || k == SET_KERNELS)
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

const char *
settings_text(const struct settings *s, enum setting k)
{
	return s->v[k].s != NULL ? s->v[k].s : setting_table[k].dflt;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const char *const count_units[] = { "", "k", "M", "G", "T", NULL };
static const char *const byte_units[] = { "B", "KiB", "MiB", "GiB", "TiB",
	NULL };

/* The unit for v, and v's size in it. */
static int
unit_of(double v, double step, const char *const *units, double *scale)
{
	int u = 0;

	*scale = 1;
	while (fabs(v) >= 0.9995 * step * *scale && units[u + 1] != NULL) {
		*scale *= step;
		u++;
	}
	return u;
}

static void
undefined(char out[NUMBER_MAX])
{
	snprintf(out, NUMBER_MAX, "-");
}

void
number_count(char out[NUMBER_MAX], double v)
{
	if (!isfinite(v))
		undefined(out);
	else
		str_count(out, NUMBER_MAX, v);
}

void
number_bytes(char out[NUMBER_MAX], double v)
{
	double scale;
	int u = unit_of(v, 1024, byte_units, &scale);

	if (!isfinite(v))
		undefined(out);
	else
		snprintf(out, NUMBER_MAX, "%.*f %s", u > 0, v / scale,
		    byte_units[u]);
}

void
number_percent(char out[NUMBER_MAX], double share)
{
	if (!isfinite(share))
		undefined(out);
	else
		snprintf(out, NUMBER_MAX, "%.1f %%", 100 * share);
}

void
number_change(char out[NUMBER_MAX], double before, double after)
{
	double share = after / before - 1;

	if (!isfinite(share))
		undefined(out);
	else if (fabs(share) < 0.0005 && share != 0)
		snprintf(out, NUMBER_MAX, "%+.2f %%", 100 * share);
	else
		snprintf(out, NUMBER_MAX, "%+.1f %%", 100 * share);
}

void
number_seconds(char out[NUMBER_MAX], double s)
{
	if (!isfinite(s))
		undefined(out);
	else if (s < 0.0995)
		snprintf(out, NUMBER_MAX, "%.1f ms", 1e3 * s);
	else if (s < 9.95)
		snprintf(out, NUMBER_MAX, "%.2f s", s);
	else if (s < 120)
		snprintf(out, NUMBER_MAX, "%.0f s", s);
	else
		snprintf(out, NUMBER_MAX, "%d min %02d s", (int)(s / 60),
		    (int)fmod(s, 60));
}

void
number_plain(char out[NUMBER_MAX], double v)
{
	if (!isfinite(v))
		undefined(out);
	else if (v == floor(v) && fabs(v) < 1e6)
		snprintf(out, NUMBER_MAX, "%.0f", v);
	else
		snprintf(out, NUMBER_MAX, "%.4g", v);
}

void
number_ms(char out[NUMBER_MAX], double ms)
{
	if (!isfinite(ms))
		snprintf(out, NUMBER_MAX, "-");
	else
		snprintf(out, NUMBER_MAX, ms < 9.9995 ? "%.3f" : ms < 99.995 ?
		    "%.2f" : ms < 999.95 ? "%.1f" : "%.0f", ms);
}

static void
pair(char out[NUMBER_MAX], double a, double b, double step,
    const char *const *units, int decimals)
{
	char left[24], right[24];
	double scale;
	int u = unit_of(fmax(fabs(a), fabs(b)), step, units, &scale);

	if (u == 0)
		decimals = 0;
	do {
		snprintf(left, sizeof(left), "%.*f", decimals, a / scale);
		snprintf(right, sizeof(right), "%.*f", decimals, b / scale);
	} while (a != b && strcmp(left, right) == 0 && u > 0 &&
	    ++decimals <= 4);
	snprintf(out, NUMBER_MAX, "%s -> %s%s%s", left, right,
	    units[u][0] != '\0' ? " " : "", units[u]);
}

void
number_count_pair(char out[NUMBER_MAX], double before, double after)
{
	double scale, most = fmax(before, after);

	unit_of(most, 1000, count_units, &scale);
	pair(out, before, after, 1000, count_units,
	    most / scale < 9.995 ? 2 : most / scale < 99.95 ? 1 : 0);
}

void
number_bytes_pair(char out[NUMBER_MAX], double before, double after)
{
	pair(out, before, after, 1024, byte_units, 1);
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * chart: small drawings in text: a bar for a share, columns for a histogram or
 * a spectrum. Eighths of a block where the terminal has Unicode, else ASCII.
 */
#ifndef PARE_UI_CHART_H
#define PARE_UI_CHART_H

#include "ui/look.h"

/* A bar of at most width columns for share in [0, 1]; malloc'ed, unpainted, a
 * sliver for anything above zero. */
char *chart_bar(const struct look *l, double share, int width);

/* n values >= 0 as upright columns, `rows` lines high, resampled to at most
 * width columns (largest value of those that fall together). Returns the
 * columns used. */
int chart_columns(struct str *b, const struct look *l, const double *v, int n,
    int width, int rows, int indent);

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * number: how figures are spelled for people, the same everywhere: "1.21 M",
 * "4.7 MiB", "94.1 %", "-3.1 %", "0.42 s"; "-" for what is undefined (NAN).
 */
#ifndef PARE_UI_NUMBER_H
#define PARE_UI_NUMBER_H

#include <stddef.h>

enum { NUMBER_MAX = 64 };

void number_count(char out[NUMBER_MAX], double v);
void number_bytes(char out[NUMBER_MAX], double v);
void number_percent(char out[NUMBER_MAX], double share);	/* "94.1 %" */
void number_change(char out[NUMBER_MAX], double before, double after);
void number_seconds(char out[NUMBER_MAX], double s);
void number_ms(char out[NUMBER_MAX], double ms);	/* "1.234", "12.34" */
void number_plain(char out[NUMBER_MAX], double v);	/* about 4 digits */

/* "1.21 -> 1.18 M": both in one unit, with as many decimals as it takes to tell
 * them apart (at most four). */
void number_count_pair(char out[NUMBER_MAX], double before, double after);
void number_bytes_pair(char out[NUMBER_MAX], double before, double after);

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * doc: reading the documents of session/result.h, forgiving about keys that are
 * not there (a renderer leaves out what it does not find).
 */
#ifndef PARE_UI_DOC_H
#define PARE_UI_DOC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

const char *doc_text(const json_t *o, const char *key);	/* "" if none */
double doc_real(const json_t *o, const char *key);	/* NAN if none */
int64_t doc_int(const json_t *o, const char *key);	/* 0 if none */
bool doc_true(const json_t *o, const char *key);
bool doc_has(const json_t *o, const char *key);		/* and is not null */
/* May be NULL. */
const json_t *doc_get(const json_t *o, const char *key);

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * config: config.json as people's files have it, and what a model remembers of
 * where it came from.
 */
#ifndef PARE_FILE_CONFIG_H
#define PARE_FILE_CONFIG_H

#include "file/file.h"

/*
 * Reads a config: an object with model_type, or one with such an object under
 * "config". Duplicate keys (the last counts) and Python's NaN and Infinity
 * (read as text, so that only their use is an error) are tolerated with a note.
 * NULL with *err.
 */
json_t *config_read(const char *path, struct notes *notes,
    struct pare_err *err);
/* The same from memory. */
json_t *config_parse(const char *text, size_t n, const char *where,
    struct notes *notes, struct pare_err *err);

/* Refuses a config of weights that others packed (quantization_config) but as
 * GPTQ (file/gptq.h), and notes custom code. */
enum pare_rc config_check(const json_t *config, const char *where,
    struct notes *notes, struct pare_err *err);

/* What pare writes as quantization_config.quant_method where a directory is not
 * a plain one, so that other readers refuse it rather than guess. */
#define CONFIG_QUANT_METHOD "pare"
#define CONFIG_GPTQ "gptq"

/* A new origin: path as given, dir (may be NULL) of the tokenizer files, config
 * (takes its own reference), labels when config names exactly nlabels. */
struct origin *config_origin(const char *path, const char *dir,
    json_t *config, int64_t nlabels, struct notes *notes);

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * journal: what a session did, line by line, so that it survives a crash.
 *
 * One file a session under the state folder, journal/TIME-PID-N.ndjson, locked
 * with flock() while the session lives. Each record is one JSON object on one
 * line, written by a single append when the command ends:
 *
 *   {"kind":"open","line":"open /abs/path","state":0,"hash":null}
 *   {"kind":"prune","line":"prune heads L0.h1","state":1,"hash":"16 digits"}
 *   {"kind":"end"}
 *
 * A torn last line is ignored. A clean end removes the file. A file that nobody
 * holds and that has no end record is what a crash left.
 */
#ifndef PARE_SESSION_JOURNAL_H
#define PARE_SESSION_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct journal;

/* The file comes into being with the first record. NULL without a state
 * folder. */
struct journal *journal_start(void);
/* hash 0: not known. sync: onto the disk before it returns. A journal that
 * cannot be written stops quietly: PARE_EWRITE once, PARE_OK after that. */
enum pare_rc journal_add(struct journal *j, const char *kind, const char *line,
    int state, uint64_t hash, bool sync, struct pare_err *err);
/* clean: the file is removed; otherwise it stays for `resume`. Frees j; NULL is
 * fine. */
void journal_end(struct journal *j, bool clean);
/* Its file, borrowed. */
const char *journal_path(const struct journal *j);

struct journal_record {
	char *kind, *line;
	int state;
	uint64_t hash;		/* 0: not known */
};

/* A journal read back. */
struct journal_replay {
	char *path;
	int n;
	struct journal_record *record;
	int changes;		/* records that are not open, data or set */
	bool ended;
	int fd;			/* holds the lock; -1 */
};
/* Reads path and takes its lock. PARE_EUSER when another process holds it,
 * PARE_EIO, PARE_EFORMAT. */
enum pare_rc journal_read(const char *path, struct journal_replay *out,
    struct pare_err *err);
void journal_replay_free(struct journal_replay *r);

/* What a crash left behind. */
struct journal_info {
	char *path;
	char *model;		/* the last open line's path */
	int changes;
	int64_t time;		/* seconds since 1970 of the last record */
};
/* The newest journal that nobody holds, that has changes and no end. Removes
 * unheld ones that are not worth offering. false: none. */
bool journal_find_crashed(struct journal_info *out);
void journal_info_free(struct journal_info *i);
void journal_remove(const char *path);

#endif

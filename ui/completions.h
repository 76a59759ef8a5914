/* SPDX-License-Identifier: GPL-3.0-or-later */
/* completions: what shells know of pare's command line, from the tables. */
#ifndef PARE_UI_COMPLETIONS_H
#define PARE_UI_COMPLETIONS_H

#include "base/str.h"

void completions_bash(struct str *b);
void completions_zsh(struct str *b);
void completions_fish(struct str *b);

#endif

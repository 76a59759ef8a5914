/* SPDX-License-Identifier: GPL-3.0-or-later */
/* version: the one place that knows it. */
#ifndef PARE_UI_VERSION_H
#define PARE_UI_VERSION_H

#include "base/str.h"

/* The text of --version: pare, then the libraries it runs on. */
void version_text(struct str *b);

#endif

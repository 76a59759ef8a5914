/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ui/version.h"
#include "ui/tui/screen.h"

#include <stdio.h>

#include <cblas.h>
#include <jansson.h>
#include <readline/readline.h>
#include <utf8proc.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.1.0"
#endif

void
version_text(struct str *b)
{
	str_addf(b, "pare %s\n", PACKAGE_VERSION);
	str_addf(b, "%s\n", openblas_get_config());
	str_addf(b, "%s, readline %s, Jansson %s, utf8proc %s\n",
	    screen_library(), rl_library_version, jansson_version_str(),
	    utf8proc_version());
}

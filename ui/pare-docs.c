/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pare-docs: writes one of the generated pages to standard output while pare is
 * built; not installed. */
#include <stdio.h>
#include <string.h>

#include "ui/manpages.h"

int
main(int argc, char **argv)
{
	const struct manpage *m;
	struct str b = STR_INIT;
	int status;

	for (m = manpage_table; m->name != NULL; m++)
		if (argc == 2 && strcmp(argv[1], m->name) == 0)
			break;
	if (m->name == NULL) {
		fprintf(stderr, "usage: pare-docs commands|ops|bash|zsh|"
		    "fish\n");
		return 2;
	}
	m->write(&b);
	status = fwrite(b.s, 1, b.n, stdout) != b.n || fflush(stdout) != 0;
	str_free(&b);
	return status;
}

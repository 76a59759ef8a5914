/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * GPT-2 writes every byte as one printable character: 33 to 126, 161 to 172 and
 * 174 to 255 stand for themselves, the 68 others, in order, for U+0100 and up.
 */
#include "text/pipeline.h"

static bool
is_itself(int byte)
{
	return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
	    (byte >= 174 && byte <= 255);
}

/* How many bytes below this one need another character. */
static int
others_below(int byte)
{
	return byte <= 33 ? byte : byte <= 127 ? 33 : byte <= 161 ?
	    33 + byte - 127 : byte <= 173 ? 67 : 68;
}

int32_t
byte_level_char(unsigned char byte)
{
	return is_itself(byte) ? byte : 0x100 + others_below(byte);
}

int
byte_level_byte(int32_t cp)
{
	if (cp < 0x100)
		return cp >= 0 && is_itself(cp) ? cp : -1;
	cp -= 0x100;
	if (cp < 33)
		return cp;
	if (cp < 67)
		return 127 + cp - 33;
	return cp == 67 ? 173 : -1;
}

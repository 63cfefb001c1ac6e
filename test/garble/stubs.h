/*
 * test/garble/stubs.h
 *		What garble.c sets and looks at in stubs.c.
 */
#ifndef GARBLE_STUBS_H
#define GARBLE_STUBS_H

#include <setjmp.h>

#include "http/http_internal.h"

extern int	stub_external_fds;
extern jmp_buf *stub_catch;		/* where errors go; NULL: they end the process */
extern char stub_message[1000];

extern void stub_reset_memory(void);

#endif

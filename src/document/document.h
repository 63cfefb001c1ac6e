/*
 * src/document/document.h
 *		What a PSP says, read with care: JSON that nobody vouches for, amounts,
 *		times and ids in it, and what of it is fit for rows and logs.
 */
#ifndef PL_DOCUMENT_H
#define PL_DOCUMENT_H

#include "core/core.h"

/* ---- document.c: reading JSON that nobody vouches for ---- */

typedef struct PlDocument PlDocument;

extern PlDocument *pl_document(const char *body, size_t length, const char **problem);
extern bool pl_is_text(const char *value, const char *expected);
extern const char *pl_document_text(const PlDocument *document, const char *path);
extern char *pl_document_raw(const PlDocument *document, const char *path);
extern char *pl_document_json(const PlDocument *document, const char *path);
extern PlDocument *pl_require_document(const char *what, const char *body, size_t length);
extern List *pl_require_elements(const char *what, const char *body, size_t length, const char *path,
								 PlDocument **list);
extern const char *pl_document_string(const PlDocument *document, const char *path);
extern bool pl_document_int64(const PlDocument *document, const char *path, int64 *value);
extern const char *pl_document_next(const PlDocument *document, const char *path, int *position,
									const char **text);

/* ---- values.c: amounts, times and ids as PSPs write them ---- */

/* A currency that a PSP counts in other units than ISO 4217. */
typedef struct PlExponent
{
	const char *currency;		/* NULL ends the table */
	int			exponent;		/* digits after the point */
} PlExponent;

extern int64 pl_amount_to_psp(int64 amount, const char *currency, const PlExponent *exponents);
extern int64 pl_amount_from_psp(int64 amount, const char *currency, const PlExponent *exponents);
extern TimestampTz pl_time_from_unix(int64 seconds);
extern TimestampTz pl_time_from_iso(const char *text);
extern int64 pl_id_from_text(const char *text);

/* ---- redact.c ---- */

extern char *pl_redact(const char *text);
extern void pl_undo_escapes(char *json);
extern void pl_hide_members(char *json, const char *name);

#endif							/* PL_DOCUMENT_H */

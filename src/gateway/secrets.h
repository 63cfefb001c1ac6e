/*
 * src/gateway/secrets.h
 *		What the secrets file says, taken apart.
 */
#ifndef PL_SECRETS_H
#define PL_SECRETS_H

#include "gateway/gateway.h"

/* A line "name = value" of a section. */
typedef struct PlSecret
{
	const char *name;
	const char *value;
} PlSecret;

/*
 * What the file says about one gateway.  Strings point into the file's text,
 * where the secrets are wiped with it.
 */
typedef struct PlSecretSection
{
	const char *database;
	const char *gateway;
	bool		wrong;			/* a line of it makes no sense, so none counts */
	List	   *secrets;		/* PlSecret, in their order */
	List	   *hosts;			/* PlEndpoint: where the secrets may be sent; NIL: to
								 * the adapter's own host */
	const char *ca_file;		/* NULL: the system's authorities */
	char	   *ca;				/* its text, once it has been read */
} PlSecretSection;

/*
 * Take the text, which is cut into strings, apart.  Returns the sections
 * (PlSecretSection), those that are wrong among them; *problem becomes the first
 * thing that is wrong, with its line, or NULL.  Lists and what is in them are in
 * the current memory context.
 */
extern List *pl_secrets_parse(char *text, char **problem);

/* ---- former_secrets.c ---- */

extern void pl_former_secret_note(const char *gateway, const char *secret);
extern void pl_former_secrets_hide(const char *gateway, char *text);

#endif							/* PL_SECRETS_H */

/*
 * src/gateway/secrets.c
 *		The gateways' keys, from the file that payledger.gateway_secrets_file
 *		names.  Read by the gateway worker only.
 *
 * The file is the server administrator's, gateways are SQL users': so it says
 * not only what the keys are but whose they are and where they may go.  A
 * section belongs to one gateway of one database, and its keys are given out for
 * a gateway only while that is at a host of the section, by its own default the
 * adapter's.  Sections of other databases are not kept at all.
 *
 * A file that cannot be read, or has a line that is wrong, changes nothing: what
 * was read before goes on to count until the file is mended and the configuration
 * reloaded.  A worker that knows nothing yet takes the sections that are right.
 *
 * Values are kept in one block of memory that is wiped when it is replaced,
 * and appear in no message.  Of those that are gone fingerprints are left.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "gateway/gateway_internal.h"
#include "gateway/secrets.h"
#include "http/http.h"
#include "miscadmin.h"
#include "utils/memutils.h"

char	   *pl_gateway_secrets_file;

#define MAX_SECRETS_FILE	65536
#define MAX_CA_FILE			(1024 * 1024)

/* anything shorter is no secret, and a part of many words */
#define MIN_SECRET 8

/* What was read: all of it in a context of its own. */
typedef struct Known
{
	MemoryContext context;
	char	   *text;			/* MAX_SECRETS_FILE + 2 bytes; NULL: no file */
	List	   *sections;		/* PlSecretSection, of this database */
} Known;

static Known *known = NULL;
static char *problem = NULL;	/* with the file; NULL: none */
static char database_name[NAMEDATALEN] = "";

static void
forget(Known *what)
{
	if (what->text != NULL)
		explicit_bzero(what->text, MAX_SECRETS_FILE + 2);
	MemoryContextDelete(what->context);
}

/*
 * Keep the sections of this database that are right, with their authorities;
 * what the others hold is wiped.  *why stays what it is, or becomes what is wrong
 * with a file of authorities.
 */
static List *
own_sections(List *all, char **why)
{
	List	   *own = NIL;
	ListCell   *cell;

	foreach(cell, all)
	{
		PlSecretSection *section = lfirst(cell);
		const char *refused = NULL;
		ListCell   *pair;

		if (strcmp(section->database, database_name) == 0 && !section->wrong)
		{
			if (section->ca_file != NULL)
				section->ca = pl_read_file(section->ca_file, MAX_CA_FILE, false, &refused);
			if (refused == NULL)
			{
				own = lappend(own, section);
				continue;
			}
			if (*why == NULL)
				*why = psprintf("section [%s]: ca_file \"%s\" %s",
								pl_secrets_section(section->database, section->gateway), section->ca_file, refused);
		}
		foreach(pair, section->secrets)
		{
			PlSecret   *secret = lfirst(pair);

			explicit_bzero((char *) secret->value, strlen(secret->value));
		}
	}
	return own;
}

/* Read the file; *why becomes what is wrong with it, palloc'd, or NULL. */
static Known *
read_secrets(char **why)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "payledger secrets",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	Known	   *fresh = palloc0(sizeof(Known));
	const char *refused = NULL;

	*why = NULL;
	fresh->context = context;
	if (pl_gateway_secrets_file != NULL && pl_gateway_secrets_file[0] != '\0')
	{
		fresh->text = pl_read_file(pl_gateway_secrets_file, MAX_SECRETS_FILE, true, &refused);
		if (fresh->text != NULL)
			fresh->sections = own_sections(pl_secrets_parse(fresh->text, why), why);
		else
			*why = pstrdup(refused);
	}
	MemoryContextSwitchTo(oldcontext);
	return fresh;
}

/* The gateway's section, or NULL. */
static PlSecretSection *
find_section(const char *gateway)
{
	ListCell   *cell;

	if (known == NULL)
		return NULL;
	foreach(cell, known->sections)
		if (strcmp(((PlSecretSection *) lfirst(cell))->gateway, gateway) == 0)
			return lfirst(cell);
	return NULL;
}

static bool
holds(const PlSecretSection *section, const char *value)
{
	ListCell   *cell;

	foreach(cell, section ? section->secrets : NIL)
		if (strcmp(((const PlSecret *) lfirst(cell))->value, value) == 0)
			return true;
	return false;
}

/* What was known, and is no more, may still come back in a PSP's words. */
static void
note_former(const Known *what)
{
	ListCell   *cell;
	ListCell   *pair;

	foreach(cell, what->sections)
	{
		const PlSecretSection *section = lfirst(cell);

		foreach(pair, section->secrets)
		{
			const char *value = ((const PlSecret *) lfirst(pair))->value;

			if (strlen(value) >= MIN_SECRET && !holds(find_section(section->gateway), value))
				pl_former_secret_note(section->gateway, value);
		}
	}
}

/*
 * Read the secrets file again, for a worker of that database.  Raises nothing:
 * pl_secrets_problem() tells what is wrong.
 */
PlSecretsLoaded
pl_secrets_load(const char *database)
{
	char	   *why;
	Known	   *fresh;
	Known	   *former;
	bool		keep;

	strlcpy(database_name, database, NAMEDATALEN);
	fresh = read_secrets(&why);
	keep = why != NULL && known != NULL && known->sections != NIL;
	if (problem != NULL)
		pfree(problem);
	problem = NULL;
	if (why != NULL)
		problem = MemoryContextStrdup(TopMemoryContext,
									  psprintf("gateway secrets file \"%s\" %s%s", pl_gateway_secrets_file, why,
											   keep ? "; what was read before still counts"
											   : fresh->sections != NIL ? "; its sections that are right count" : ""));
	if (keep)
	{
		forget(fresh);
		return PL_SECRETS_KEPT;
	}
	former = known;
	known = fresh;
	if (former != NULL)
	{
		note_former(former);
		forget(former);
	}
	return problem == NULL ? PL_SECRETS_READ : PL_SECRETS_READ_PARTLY;
}

/*
 * What is wrong with the secrets file; NULL if nothing is.
 */
const char *
pl_secrets_problem(void)
{
	return problem;
}

/* ---- sections ---- */

static void
append_name(StringInfo out, const char *name)
{
	bool		bare = name[0] != '\0';

	for (const char *p = name; bare && *p; p++)
		bare = IS_HIGHBIT_SET(*p) || isalnum((unsigned char) *p) || strchr("-_.$", *p) != NULL;
	if (bare)
	{
		appendStringInfoString(out, name);
		return;
	}
	appendStringInfoChar(out, '"');
	for (const char *p = name; *p; p++)
	{
		if (*p == '"')
			appendStringInfoChar(out, '"');
		appendStringInfoChar(out, *p);
	}
	appendStringInfoChar(out, '"');
}

/*
 * What stands between the brackets of a gateway's section, palloc'd; database is
 * NULL for this one, which needs a transaction.
 */
char *
pl_secrets_section(const char *database, const char *gateway)
{
	StringInfoData out;

	if (database == NULL)
		database = get_database_name(MyDatabaseId);
	initStringInfo(&out);
	append_name(&out, database ? database : "database");
	appendStringInfoChar(&out, '/');
	append_name(&out, gateway);
	return out.data;
}

/* May anything be sent to where the gateway is?  section may be NULL. */
static bool
is_at_home(const PlSecretSection *section, const PlGateway *gateway)
{
	ListCell   *cell;

	/* an embedded one sends nothing */
	if (gateway->adapter->perform != NULL)
		return true;
	if (section == NULL || section->hosts == NIL)
		return pl_same_endpoint(&gateway->endpoint, &gateway->home);
	foreach(cell, section->hosts)
		if (pl_same_endpoint(&gateway->endpoint, lfirst(cell)))
			return true;
	return false;
}

static const char *
find_secret(const PlSecretSection *section, const char *name)
{
	ListCell   *cell;

	if (section == NULL)
		return NULL;
	foreach(cell, section->secrets)
	{
		const PlSecret *secret = lfirst(cell);

		if (strcmp(secret->name, name) == 0)
			return secret->value;
	}
	return NULL;
}

/*
 * Why the gateway gets none of its keys, or lacks one that it needs, palloc'd;
 * NULL: it has all, for where it is.
 */
char *
pl_secrets_missing(const PlGateway *gateway)
{
	const PlSecretSection *section = find_section(gateway->name);

	if (!is_at_home(section, gateway))
	{
		if (section == NULL && problem != NULL)
			return pstrdup(problem);
		return psprintf("gateway \"%s\" is at %s:%d, which is no host of its section [%s] in the file that payledger.gateway_secrets_file names: it gets no key, and no request is sent",
						gateway->name, gateway->endpoint.host, gateway->endpoint.port,
						pl_secrets_section(database_name, gateway->name));
	}
	for (int i = 0; gateway->adapter->secrets && gateway->adapter->secrets[i]; i++)
		if (find_secret(section, gateway->adapter->secrets[i]) == NULL)
		{
			if (section == NULL && problem != NULL)
				return pstrdup(problem);
			return psprintf("no %s for gateway \"%s\" in section [%s] of the file that payledger.gateway_secrets_file names",
							gateway->adapter->secrets[i], gateway->name,
							pl_secrets_section(database_name, gateway->name));
		}
	return NULL;
}

/*
 * A header line with a secret of the gateway behind before, palloc'd, the only
 * copy.  Raises 55000 if it has none, or is not where that may be sent.
 */
char *
pl_secret_line(const PlGateway *gateway, const char *before, const char *name)
{
	const PlSecretSection *section = find_section(gateway->name);
	const char *value = is_at_home(section, gateway) ? find_secret(section, name) : NULL;
	char	   *line;
	size_t		size;

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("gateway \"%s\" has no %s for where it is", gateway->name, name)));
	size = strlen(before) + strlen(value) + 1;
	line = palloc(size);
	snprintf(line, size, "%s%s", before, value);
	return line;
}

/*
 * The authorities whose certificates the gateway accepts, PEM; NULL: the
 * system's.  Gone after the next pl_secrets_load().
 */
const char *
pl_secrets_ca(const PlGateway *gateway)
{
	const PlSecretSection *section = find_section(gateway->name);

	return section ? section->ca : NULL;
}

/*
 * Call take for each webhook_secret of the file, with the gateway that it is of.
 */
void
pl_each_webhook_secret(void (*take) (const char *gateway, const char *value, void *arg), void *arg)
{
	ListCell   *cell;
	ListCell   *pair;

	if (known == NULL)
		return;
	foreach(cell, known->sections)
	{
		const PlSecretSection *section = lfirst(cell);

		foreach(pair, section->secrets)
		{
			const PlSecret *secret = lfirst(pair);

			if (strcmp(secret->name, "webhook_secret") == 0)
				take(section->gateway, secret->value, arg);
		}
	}
}

/*
 * Does the file have a section of the gateway?
 */
bool
pl_has_secrets(const char *gateway)
{
	return find_section(gateway) != NULL;
}

/* Put asterisks where the text has the secret. */
static void
hide(char *text, const char *secret)
{
	size_t		length = strlen(secret);

	while ((text = strstr(text, secret)) != NULL)
	{
		memset(text, '*', length);
		text += length;
	}
}

/* The same where the text is JSON, and escapes what has to be in it. */
static void
hide_escaped(char *text, const char *secret)
{
	StringInfoData escaped;

	initStringInfo(&escaped);
	for (const char *p = secret; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoCharMacro(&escaped, '\\');
		appendStringInfoCharMacro(&escaped, *p);
	}
	hide(text, escaped.data);
	explicit_bzero(escaped.data, escaped.len);
	pfree(escaped.data);
}

/*
 * A PSP's words, palloc'd, with asterisks where they repeat a secret of the
 * gateway, as PSPs do with keys that they refuse, or one that it had before.
 * NULL stays NULL.  In JSON only what has to be may be escaped.
 */
char *
pl_hide_secrets(const char *gateway, const char *text)
{
	const PlSecretSection *section = find_section(gateway);
	char	   *result = text ? pstrdup(text) : NULL;
	ListCell   *cell;

	if (result == NULL)
		return NULL;
	foreach(cell, section ? section->secrets : NIL)
	{
		const char *value = ((const PlSecret *) lfirst(cell))->value;

		if (strlen(value) < MIN_SECRET)
			continue;
		hide(result, value);
		if (strpbrk(value, "\"\\") != NULL)
			hide_escaped(result, value);
	}
	pl_former_secrets_hide(gateway, result);
	return result;
}

/*
 * src/gateway/secrets_file.c
 *		The secrets file's text: sections of gateways, and what stands in them.
 *
 *		# comment
 *		[database/gateway]
 *		host = psp.example:8443
 *		ca_file = /etc/ssl/psp.pem
 *		api_key = sk_live_...
 *
 * A name that holds more than letters, digits and - _ . $ stands in double
 * quotes, which are doubled within.  What is wrong is told by its line and never
 * shown: a line that is no line may be a secret.
 */
#include "postgres.h"

#include "gateway/secrets.h"
#include "http/http.h"

#define NO_DATABASE "names no database; a section is [database/gateway]"
#define NO_SECTION "is no section; one is [database/gateway], with double quotes around a name of other characters than letters, digits and -_.$"

/* What may stand more than once in a section: keys that are being changed, hosts. */
static const char *const repeatable[] = {"webhook_secret", "host", NULL};

/* What may stand in the section of any gateway; adapters know further secrets. */
static const char *const known_names[] = {"api_key", "webhook_secret", "host", "ca_file", NULL};

typedef struct Parser
{
	List	   *sections;
	PlSecretSection *section;	/* the present one; NULL before the first, and
								 * after a header that is none */
	bool		lost;			/* that header was none: what follows is nobody's */
	const char *problem;		/* of the present line; NULL: none */
} Parser;

/* Cut blanks off both ends, in place. */
static char *
trim(char *s)
{
	char	   *end;

	s += strspn(s, " \t");
	end = s + strlen(s);
	while (end > s && strchr(" \t\r", end[-1]) != NULL)
		*--end = '\0';
	return s;
}

/* A value goes into an HTTP header, or is compared byte by byte. */
static bool
is_one_word(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s; s++)
		if ((unsigned char) *s <= 0x20 || (unsigned char) *s >= 0x7f)
			return false;
	return true;
}

/* A path goes into messages. */
static bool
is_path(const char *s)
{
	bool		right = *s == '/';

	for (; right && *s; s++)
		right = (unsigned char) *s >= 0x20 && (unsigned char) *s < 0x7f;
	return right;
}

static bool
is_in(const char *const *names, const char *name)
{
	for (; *names != NULL; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

/* ---- section headers ---- */

static bool
is_bare(char c)
{
	return IS_HIGHBIT_SET(c) || isalnum((unsigned char) c) || (c != '\0' && strchr("-_.$", c) != NULL);
}

/*
 * The name at *p, which moves behind it and to *end, where a NUL may be put once
 * what stands there has been seen; NULL if there is none.
 */
static char *
take_name(char **p, char **end)
{
	char	   *name = *p + strspn(*p, " \t");
	char	   *from = name;
	char	   *to;

	if (*name != '"')
	{
		while (is_bare(*from))
			from++;
		*end = *p = from;
		return from > name ? name : NULL;
	}
	name = to = ++from;
	for (; *from != '"' || from[1] == '"'; from++)
	{
		if (*from == '\0')
			return NULL;
		from += *from == '"';
		*to++ = *from;
	}
	*end = to;
	*p = from + 1;
	return to > name ? name : NULL;
}

static bool
skip(char **p, char wanted)
{
	*p += strspn(*p, " \t");
	if (**p != wanted)
		return false;
	(*p)++;
	return true;
}

static PlSecretSection *
find_section(List *sections, const char *database, const char *gateway)
{
	ListCell   *cell;

	foreach(cell, sections)
	{
		PlSecretSection *section = lfirst(cell);

		if (strcmp(section->database, database) == 0 && strcmp(section->gateway, gateway) == 0)
			return section;
	}
	return NULL;
}

static void
take_header(Parser *parser, char *line)
{
	char	   *p = line + 1;
	char	   *database_end;
	char	   *gateway_end;
	char	   *database = take_name(&p, &database_end);
	char	   *gateway;
	PlSecretSection *known;

	parser->section = NULL;
	parser->lost = true;
	parser->problem = NO_SECTION;
	if (database == NULL)
		return;
	if (!skip(&p, '/'))
	{
		if (skip(&p, ']') && *p == '\0')
			parser->problem = NO_DATABASE;
		return;
	}
	gateway = take_name(&p, &gateway_end);
	if (gateway == NULL || !skip(&p, ']') || *p != '\0')
		return;
	*database_end = *gateway_end = '\0';
	if (strlen(database) >= NAMEDATALEN || strlen(gateway) >= NAMEDATALEN)
	{
		parser->problem = "names a database or gateway whose name is too long for one";
		return;
	}
	known = find_section(parser->sections, database, gateway);
	if (known != NULL)
	{
		/* which of the two is meant is not known */
		known->wrong = true;
		parser->problem = "begins a section that was there already";
		return;
	}
	parser->problem = NULL;
	parser->lost = false;
	parser->section = palloc0(sizeof(PlSecretSection));
	parser->section->database = database;
	parser->section->gateway = gateway;
	parser->sections = lappend(parser->sections, parser->section);
}

/* ---- lines of a section ---- */

static bool
is_known(const char *name)
{
	if (is_in(known_names, name))
		return true;
	for (int i = 0; pl_adapters[i] != NULL; i++)
		if (pl_adapters[i]->secrets != NULL && is_in(pl_adapters[i]->secrets, name))
			return true;
	return false;
}

static bool
is_given(const PlSecretSection *section, const char *name)
{
	ListCell   *cell;

	if (strcmp(name, "ca_file") == 0)
		return section->ca_file != NULL;
	foreach(cell, section->secrets)
		if (strcmp(((PlSecret *) lfirst(cell))->name, name) == 0)
			return true;
	return false;
}

static const char *
take_pair(PlSecretSection *section, const char *name, char *value)
{
	if (!is_known(name))
		return "has a name that is none of api_key, webhook_secret, host, ca_file";
	if (!is_in(repeatable, name) && is_given(section, name))
		return psprintf("gives %s a second time", name);
	if (strcmp(name, "ca_file") == 0)
	{
		section->ca_file = value;
		return is_path(value) ? NULL : "gives ca_file no absolute path of printable ASCII characters";
	}
	if (!is_one_word(value))
		return psprintf("gives %s a value that is not one word of ASCII characters", name);
	if (strcmp(name, "host") == 0)
	{
		PlEndpoint *host = palloc0(sizeof(PlEndpoint));

		if (!pl_parse_host(value, host))
			return "gives no host such as psp.example or psp.example:8443";
		section->hosts = lappend(section->hosts, host);
	}
	else
	{
		PlSecret   *secret = palloc(sizeof(PlSecret));

		secret->name = name;
		secret->value = value;
		section->secrets = lappend(section->secrets, secret);
	}
	return NULL;
}

static void
take_line(Parser *parser, char *line)
{
	char	   *equals;

	if (*line == '\0' || *line == '#' || *line == ';')
		return;
	if (*line == '[')
	{
		take_header(parser, line);
		return;
	}
	/* told of the header already */
	if (parser->lost)
		return;
	equals = strchr(line, '=');
	if (parser->section == NULL)
		parser->problem = "stands before the first section";
	else if (equals == NULL)
		parser->problem = "is neither a section nor \"name = value\"";
	else
	{
		*equals = '\0';
		parser->problem = take_pair(parser->section, trim(line), trim(equals + 1));
	}
	if (parser->problem != NULL && parser->section != NULL)
		parser->section->wrong = true;
}

List *
pl_secrets_parse(char *text, char **problem)
{
	Parser		parser = {0};
	char	   *line;

	*problem = NULL;
	for (int number = 1; (line = strsep(&text, "\n")) != NULL; number++)
	{
		parser.problem = NULL;
		take_line(&parser, trim(line));
		if (parser.problem != NULL && *problem == NULL)
			*problem = psprintf("line %d %s", number, parser.problem);
	}
	return parser.sections;
}

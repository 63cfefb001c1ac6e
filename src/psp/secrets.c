/*
 * src/psp/secrets.c
 *		The gateways' keys, from the file that payledger.gateway_secrets_file
 *		names.  Read by the gateway worker only.
 *
 *		# comment
 *		[gateway name]
 *		api_key = sk_live_...
 *
 * Values are kept in one block of memory that is wiped when it is replaced,
 * and appear in no message.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "psp/psp.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define MAX_SECRETS_FILE 65536

/* anything shorter is no secret, and a part of many words */
#define MIN_SECRET 8

typedef struct Secret
{
	const char *gateway;
	const char *name;
	const char *value;
} Secret;

/* the file's text, cut into strings, and the secrets that point into it */
static char *file_text = NULL;
static Secret *secrets = NULL;
static int	nsecrets = 0;
static char problem[256] = "";

static void
forget_secrets(void)
{
	if (file_text != NULL)
	{
		explicit_bzero(file_text, MAX_SECRETS_FILE + 1);
		pfree(file_text);
		file_text = NULL;
	}
	if (secrets != NULL)
		pfree(secrets);
	secrets = NULL;
	nsecrets = 0;
}

/*
 * Why an open file may not hold secrets; NULL if it may.
 */
static const char *
untrusted(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return "cannot be examined";
	if (!S_ISREG(st.st_mode))
		return "is not a regular file";
	if (st.st_uid != geteuid())
		return "is not owned by the user that runs the server";
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return "may be read or written by others; set its mode to 0600";
	if (st.st_size > MAX_SECRETS_FILE)
		return "is larger than 64 kB";
	return NULL;
}

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

/* A value goes into an HTTP header. */
static bool
is_printable(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s; s++)
		if ((unsigned char) *s <= 0x20 || (unsigned char) *s >= 0x7f)
			return false;
	return true;
}

/*
 * Take the text apart; the number of the first bad line, or 0.
 */
static int
parse_secrets(void)
{
	char	   *next = file_text;
	const char *section = NULL;
	int			allocated = 0;

	for (int line = 1; next != NULL; line++)
	{
		char	   *current = strsep(&next, "\n");
		char	   *equals;

		current = trim(current);
		if (*current == '\0' || *current == '#' || *current == ';')
			continue;
		if (*current == '[')
		{
			size_t		length = strlen(current);

			if (length < 3 || current[length - 1] != ']')
				return line;
			current[length - 1] = '\0';
			section = trim(current + 1);
			continue;
		}
		equals = strchr(current, '=');
		if (section == NULL || equals == NULL)
			return line;
		*equals = '\0';
		if (nsecrets == allocated)
		{
			allocated = Max(16, allocated * 2);
			secrets = secrets ? repalloc(secrets, allocated * sizeof(Secret))
				: MemoryContextAlloc(TopMemoryContext, allocated * sizeof(Secret));
		}
		secrets[nsecrets].gateway = section;
		secrets[nsecrets].name = trim(current);
		secrets[nsecrets].value = trim(equals + 1);
		if (!is_printable(secrets[nsecrets].name) || !is_printable(secrets[nsecrets].value))
			return line;
		nsecrets++;
	}
	return 0;
}

/* Read the open file into file_text; false if that fails. */
static bool
read_text(int fd)
{
	size_t		length = 0;
	ssize_t		n;

	file_text = MemoryContextAllocZero(TopMemoryContext, MAX_SECRETS_FILE + 1);
	while (length < MAX_SECRETS_FILE &&
		   (n = read(fd, file_text + length, MAX_SECRETS_FILE - length)) != 0)
	{
		if (n < 0)
			return false;
		length += n;
	}
	return strlen(file_text) == length;
}

/*
 * Read the secrets file again; those read before are wiped first.  Raises
 * nothing: pl_secrets_problem() tells what is wrong.
 */
void
pl_secrets_load(void)
{
	int			fd;
	const char *why;
	int			line;

	forget_secrets();
	problem[0] = '\0';
	if (pl_gateway_secrets_file == NULL || pl_gateway_secrets_file[0] == '\0')
		return;

	/* not blocking: a FIFO is refused below instead of waited for */
	fd = OpenTransientFile(pl_gateway_secrets_file, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
	{
		snprintf(problem, sizeof(problem), "gateway secrets file \"%.128s\" cannot be opened: %s",
				 pl_gateway_secrets_file, strerror(errno));
		return;
	}
	why = untrusted(fd);
	if (why == NULL && !read_text(fd))
		why = "cannot be read as text";
	CloseTransientFile(fd);

	if (why != NULL)
		snprintf(problem, sizeof(problem), "gateway secrets file \"%.128s\" %s",
				 pl_gateway_secrets_file, why);
	else if ((line = parse_secrets()) != 0)
		snprintf(problem, sizeof(problem),
				 "gateway secrets file \"%.128s\" has a syntax error in line %d",
				 pl_gateway_secrets_file, line);
	if (problem[0] != '\0')
		forget_secrets();
}

/*
 * A secret of a gateway, or NULL.  The last one in the file counts.  The
 * string is gone after the next pl_secrets_load().
 */
const char *
pl_secret(const char *gateway, const char *name)
{
	for (int i = nsecrets - 1; i >= 0; i--)
		if (strcmp(secrets[i].gateway, gateway) == 0 && strcmp(secrets[i].name, name) == 0)
			return secrets[i].value;
	return NULL;
}

/*
 * The i-th secret of the file, from 0; false behind the last.
 */
bool
pl_secret_at(int i, const char **gateway, const char **name, const char **value)
{
	if (i >= nsecrets)
		return false;
	*gateway = secrets[i].gateway;
	*name = secrets[i].name;
	*value = secrets[i].value;
	return true;
}

/*
 * A PSP's words, palloc'd, with asterisks where they repeat a secret of the
 * gateway, as PSPs do with keys that they refuse.  NULL stays NULL.
 */
char *
pl_hide_secrets(const char *gateway, const char *text)
{
	char	   *result = text ? pstrdup(text) : NULL;

	for (int i = 0; result != NULL && i < nsecrets; i++)
	{
		size_t		length = strlen(secrets[i].value);
		char	   *found = result;

		if (strcmp(secrets[i].gateway, gateway) != 0 || length < MIN_SECRET)
			continue;
		for (; (found = strstr(found, secrets[i].value)) != NULL; found += length)
			memset(found, '*', length);
	}
	return result;
}

/*
 * What is wrong with the secrets file; NULL if nothing is.
 */
const char *
pl_secrets_problem(void)
{
	return problem[0] ? problem : NULL;
}

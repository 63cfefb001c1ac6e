/*
 * src/document/document.c
 *		Reading JSON that nobody vouches for.
 *
 * PostgreSQL's own parser reports what is wrong with a text instead of
 * raising it; depth, number of members and bytes are bounded before.  The
 * document is a list of paths ("error.code", "data.0.id") with their values.
 * A point or backslash within a name has a backslash before it in the path, so
 * that no two members share one.
 *
 * What no text of PostgreSQL can hold stands as U+FFFD: bytes that are not
 * UTF-8, the escape of the NUL character, half of a surrogate pair.  They come
 * from what shoppers type and programs cut off, mostly in members that nobody
 * reads.
 */
#include "postgres.h"

#include <math.h>

#include "common/jsonapi.h"
#include "document/document.h"
#include "mb/pg_wchar.h"

#define MAX_DEPTH 32
#define MAX_MEMBERS 20000
#define MAX_PATH	1000		/* bytes; a member further down cannot be asked for */

typedef struct Member
{
	char	   *path;			/* NULL: too long to be asked for */
	char	   *text;			/* scalars, without escapes; NULL: null or not a
								 * scalar */
	JsonTokenType type;			/* of scalars */
	bool		nested;			/* an object or array */
	const char *start;			/* as written */
	int			length;
} Member;

struct PlDocument
{
	Member	   *members;
	int			n;
	int			allocated;
	int			levels;			/* members deeper than that are not kept */
	int			nsorted;
	const Member **sorted;		/* those with a path, by it, then as written */
	const char *twice;			/* the first path that two members have; NULL: none */

	/* while parsing */
	JsonLexContext *lex;
	StringInfoData path;
	int			level;
	const char *value_start;	/* of the field or element that is begun */
	int			path_lengths[MAX_DEPTH + 1];	/* of path, outside of each level */
	int			indexes[MAX_DEPTH + 1]; /* next element of the array there */
	int			open[MAX_DEPTH + 1];	/* member of the object or array there */
};

/* Add a member at the present path. */
static Member *
add_member(PlDocument *document, const char *start)
{
	Member	   *member;

	if (document->n == document->allocated)
	{
		document->allocated = Max(64, document->allocated * 2);
		document->members = document->members
			? repalloc(document->members, document->allocated * sizeof(Member))
			: palloc(document->allocated * sizeof(Member));
	}
	member = &document->members[document->n];
	/* else one long name would be kept once for each member below it */
	member->path = document->path.len <= MAX_PATH ? pnstrdup(document->path.data, document->path.len) : NULL;
	member->text = NULL;
	member->type = JSON_TOKEN_INVALID;
	member->nested = false;
	member->start = start;
	member->length = 0;
	document->n++;
	return member;
}

static void
enter(PlDocument *document)
{
	document->open[document->level] = -1;
	if (document->level <= document->levels)
	{
		add_member(document, document->lex->token_start)->nested = true;
		document->open[document->level] = document->n - 1;
	}
	document->indexes[document->level++] = 0;
}

static void
leave(PlDocument *document)
{
	int			opened = document->open[--document->level];

	if (opened >= 0)
		document->members[opened].length =
			document->lex->prev_token_terminator - document->members[opened].start;
}

/* Make the path longer by a step; the level's length before is remembered. */
static void
step_in(PlDocument *document, const char *step)
{
	document->path_lengths[document->level] = document->path.len;
	if (document->path.len > 0)
		appendStringInfoChar(&document->path, '.');
	for (const char *p = step; *p; p++)
	{
		if (*p == '.' || *p == '\\')
			appendStringInfoCharMacro(&document->path, '\\');
		appendStringInfoCharMacro(&document->path, *p);
	}
}

static void
step_out(PlDocument *document)
{
	document->path.len = document->path_lengths[document->level];
	document->path.data[document->path.len] = '\0';
}

static PL_JSON_CALLBACK
begin_nested(void *state)
{
	enter(state);
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
end_nested(void *state)
{
	leave(state);
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
begin_field(void *state, char *name, bool isnull)
{
	PlDocument *document = state;

	document->value_start = document->lex->token_start;
	step_in(document, name);
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
end_step(void *state, char *name, bool isnull)
{
	step_out(state);
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
begin_element(void *state, bool isnull)
{
	PlDocument *document = state;
	char		index[16];

	document->value_start = document->lex->token_start;
	snprintf(index, sizeof(index), "%d", document->indexes[document->level - 1]++);
	step_in(document, index);
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
end_element(void *state, bool isnull)
{
	step_out(state);
	PL_JSON_CALLBACK_DONE;
}

static PL_JSON_CALLBACK
scalar(void *state, char *token, JsonTokenType type)
{
	PlDocument *document = state;

	/* the token is behind the parser already */
	if (document->level <= document->levels)
	{
		Member	   *member = add_member(document, document->value_start);

		member->text = type == JSON_TOKEN_NULL ? NULL : token;
		member->type = type;
		member->length = document->lex->prev_token_terminator - member->start;
	}
	PL_JSON_CALLBACK_DONE;
}

static const char too_deep[] = "nested too deeply";
static const char too_many[] = "too many members";

/*
 * Nesting and number of members of so many levels, without recursion and before
 * any allocation; generous, for text that turns out not to be JSON.
 */
static const char *
too_much(const char *body, size_t length, int levels)
{
	int			depth = 0;
	int			members = 0;
	bool		in_string = false;

	for (size_t i = 0; i < length; i++)
	{
		char		c = body[i];

		if (in_string)
		{
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		}
		else if (c == '"')
			in_string = true;
		else if (c == '{' || c == '[')
		{
			if (++depth > MAX_DEPTH)
				return too_deep;
		}
		else if (c == '}' || c == ']')
			depth--;
		else if ((c == ',' || c == ':') && depth <= levels && ++members > MAX_MEMBERS)
			return too_many;
	}
	return NULL;
}

/* The code that four hexadecimal digits stand for; -1 if they are none. */
static int
escaped_code(const char *p)
{
	int			code = 0;

	for (int i = 0; i < 4; i++)
	{
		int			digit = isdigit((unsigned char) p[i]) ? p[i] - '0'
			: p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10
			: p[i] >= 'A' && p[i] <= 'F' ? p[i] - 'A' + 10 : -1;

		if (digit < 0)
			return -1;
		code = code * 16 + digit;
	}
	return code;
}

/*
 * Let the escapes that stand for no character of PostgreSQL's stand for U+FFFD,
 * in as many bytes.  The parser takes the rest, or says that it is not JSON.
 */
static void
replace_escapes(char *text)
{
	for (char *p = text; *p;)
	{
		int			code = *p == '\\' && p[1] == 'u' ? escaped_code(p + 2) : -1;

		if (code >= 0xd800 && code <= 0xdbff && p[6] == '\\' && p[7] == 'u')
		{
			int			low = escaped_code(p + 8);

			if (low >= 0xdc00 && low <= 0xdfff)
			{
				p += 12;
				continue;
			}
		}
		if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
			memcpy(p + 2, "fffd", 4);
		p += code >= 0 ? 6 : *p == '\\' && p[1] != '\0' ? 2 : 1;
	}
}

static int
by_path(const void *a, const void *b)
{
	const Member *x = *(const Member *const *) a;
	const Member *y = *(const Member *const *) b;
	int			order = strcmp(x->path, y->path);

	return order != 0 ? order : (x > y) - (x < y);
}

static void
sort_members(PlDocument *document)
{
	document->sorted = palloc(sizeof(Member *) * Max(document->n, 1));
	for (int i = 0; i < document->n; i++)
		if (document->members[i].path != NULL)
			document->sorted[document->nsorted++] = &document->members[i];
	qsort(document->sorted, document->nsorted, sizeof(Member *), by_path);
	for (int i = 1; i < document->nsorted && document->twice == NULL; i++)
		if (strcmp(document->sorted[i - 1]->path, document->sorted[i]->path) == 0)
			document->twice = document->sorted[i]->path;
}

static const char *
parse(PlDocument *document, char *body, size_t length)
{
	JsonSemAction actions = {0};

	actions.semstate = document;
	actions.object_start = actions.array_start = begin_nested;
	actions.object_end = actions.array_end = end_nested;
	actions.object_field_start = begin_field;
	actions.object_field_end = end_step;
	actions.array_element_start = begin_element;
	actions.array_element_end = end_element;
	actions.scalar = scalar;

	document->value_start = body + strspn(body, " \t\n\r");
	document->lex = PlMakeJsonLexContext(body, length, PG_UTF8);
	if (pg_parse_json(document->lex, &actions) != JSON_SUCCESS)
		return "not JSON";
	sort_members(document);
	return NULL;
}

/* As pl_document(), with the members of so many levels. */
static PlDocument *
read_document(const char *body, size_t length, int levels, const char **problem)
{
	PlDocument *document = palloc0(sizeof(PlDocument));
	char	   *text;

	*problem = "not JSON";
	document->levels = levels;
	if (memchr(body, '\0', length) != NULL)
		return NULL;
	text = pl_valid_text(body, length);
	length = strlen(text);
	*problem = too_much(text, length, levels);
	if (*problem != NULL)
		return NULL;
	initStringInfo(&document->path);
	replace_escapes(text);
	*problem = parse(document, text, length);
	return *problem ? NULL : document;
}

/*
 * The JSON text in body, palloc'd; NULL if it is none, with the reason in
 * *problem.  Raises nothing but 53200 out of memory.  Of members with one name
 * none can be read: asking for one raises 22P02.
 */
PlDocument *
pl_document(const char *body, size_t length, const char **problem)
{
	return read_document(body, length, MAX_DEPTH, problem);
}

/* Is a value that may be missing (NULL) the expected one? */
bool
pl_is_text(const char *value, const char *expected)
{
	return value != NULL && strcmp(value, expected) == 0;
}

/* The first member of that very path; NULL: none.  *twice: there is another. */
static const Member *
search(const PlDocument *document, const char *path, bool *twice)
{
	int			low = 0;
	int			high = document->nsorted;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (strcmp(document->sorted[middle]->path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == document->nsorted || strcmp(document->sorted[low]->path, path) != 0)
		return NULL;
	*twice = low + 1 < document->nsorted && strcmp(document->sorted[low + 1]->path, path) == 0;
	return document->sorted[low];
}

/* Raise 22P02 if the path leads through a member that is there twice. */
static void
refuse_ambiguous(const PlDocument *document, const char *path)
{
	char	   *part = pstrdup(path);

	for (char *p = part;; p++)
	{
		char		end = *p;
		bool		twice = false;

		if (end == '\\' && p[1] != '\0')
			p++;
		if (end != '.' && end != '\0')
			continue;
		*p = '\0';
		(void) search(document, part, &twice);
		if (twice)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("member \"%s\" is there twice", pl_redact(part))));
		if (end == '\0')
			break;
		*p = end;
	}
	pfree(part);
}

/* Of two members with one name nobody knows which one counts; 22P02. */
static const Member *
find_member(const PlDocument *document, const char *path)
{
	bool		twice;

	if (document->twice != NULL)
		refuse_ambiguous(document, path);
	return search(document, path, &twice);
}

pg_noreturn static void
refuse(const char *what, const char *problem)
{
	ereport(ERROR,
			(errcode(problem == too_deep ? ERRCODE_STATEMENT_TOO_COMPLEX :
					 problem == too_many ? ERRCODE_PROGRAM_LIMIT_EXCEEDED :
					 ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("%s is %s", what, problem)));
}

static void
refuse_duplicates(const PlDocument *document, const char *what)
{
	if (document->twice != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("%s has two members of one name", what),
				 errdetail("It is %s.", pl_redact(document->twice))));
}

/*
 * The JSON object in body, palloc'd.  what names it in
 * errors: 22P02 if it is none, or has two members of one name, 54001 if it is
 * nested too deeply, 54000 if it has too many members.
 */
PlDocument *
pl_require_document(const char *what, const char *body, size_t length)
{
	const char *problem;
	PlDocument *document = pl_document(body, length, &problem);

	if (document == NULL)
		refuse(what, problem);
	refuse_duplicates(document, what);
	if (document->members[0].start[0] != '{')
		refuse(what, "not a JSON object");
	return document;
}

/*
 * The elements of the array at a path in the JSON in body, each as it was
 * written, a scalar too (char *, palloc'd): for lists that are too long to look
 * at as one document.  *list becomes what surrounds them.  Raises as
 * pl_require_document(), and 22023 without such an array.
 */
List *
pl_require_elements(const char *what, const char *body, size_t length, const char *path, PlDocument **list)
{
	const char *problem;
	PlDocument *document;
	List	   *elements = NIL;
	const Member *element;
	int			levels = 2;		/* the document, the array, its elements ... */

	/* ... and what is between */
	for (const char *p = path; *p; p++)
	{
		levels += *p == '.';
		if (*p == '\\' && p[1] != '\0')
			p++;
	}
	document = read_document(body, length, levels, &problem);
	if (document == NULL)
		refuse(what, problem);
	refuse_duplicates(document, what);
	element = find_member(document, path);
	if (element == NULL || !element->nested || element->start[0] != '[')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no list \"%s\"", what, path)));
	while ((element = find_member(document, psprintf("%s.%d", path, list_length(elements)))) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		elements = lappend(elements, pnstrdup(element->start, element->length));
	}
	*list = document;
	return elements;
}

/*
 * The scalar at a path as text; NULL if there is none, or null.
 */
const char *
pl_document_text(const PlDocument *document, const char *path)
{
	const Member *member = find_member(document, path);

	return member ? member->text : NULL;
}

/*
 * The object or array at a path as it was written, palloc'd; NULL if there is
 * none.
 */
char *
pl_document_raw(const PlDocument *document, const char *path)
{
	const Member *member = find_member(document, path);

	return member && member->nested ? pnstrdup(member->start, member->length) : NULL;
}

/*
 * The value at a path as JSON text, palloc'd; NULL if there is none, or null.
 */
char *
pl_document_json(const PlDocument *document, const char *path)
{
	const Member *member = find_member(document, path);

	return member && member->type != JSON_TOKEN_NULL ? pnstrdup(member->start, member->length) : NULL;
}

/*
 * The string at a path; NULL if there is none, or null.  Raises 22P02 for
 * anything else.
 */
const char *
pl_document_string(const PlDocument *document, const char *path)
{
	const Member *member = find_member(document, path);

	if (member == NULL || member->type == JSON_TOKEN_NULL)
		return NULL;
	if (member->type != JSON_TOKEN_STRING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("member \"%s\" must be a string", path)));
	return member->text;
}

/*
 * The whole number at a path, in *value; false if there is none, or null.
 * Raises 22P02 for anything else, a fraction too, and 22003 for one that
 * fits no bigint.
 */
bool
pl_document_int64(const PlDocument *document, const char *path, int64 *value)
{
	const Member *member = find_member(document, path);
	const char *digits;
	char	   *end;

	if (member == NULL || member->type == JSON_TOKEN_NULL)
		return false;
	if (member->type != JSON_TOKEN_NUMBER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("member \"%s\" must be a number", path)));
	digits = member->text + (member->text[0] == '-');
	errno = 0;
	*value = strtoll(member->text, &end, 10);
	if (errno == ERANGE || (*end != '\0' && fabs(strtod(member->text, NULL)) >= (double) PG_INT64_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("member \"%s\" is out of range", path)));
	if (strspn(digits, "0123456789") != strlen(digits))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("member \"%s\" must be a whole number", path)));
	return true;
}

/*
 * The scalar members of the object at a path, one with each call: the name as
 * in paths, and the value in *text.  *position counts, from 0; NULL: there are
 * no more.
 */
const char *
pl_document_next(const PlDocument *document, const char *path, int *position, const char **text)
{
	size_t		length = strlen(path);

	while (*position < document->n)
	{
		const Member *member = &document->members[(*position)++];

		if (member->text != NULL && member->path != NULL &&
			strncmp(member->path, path, length) == 0 && member->path[length] == '.')
		{
			const char *name = member->path + length + 1;
			const char *point = name;

			while (*point && *point != '.')
				point += *point == '\\' && point[1] ? 2 : 1;
			if (*point != '\0')
				continue;
			*text = member->text;
			return name;
		}
	}
	return NULL;
}

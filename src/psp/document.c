/*
 * src/psp/document.c
 *		Reading JSON that nobody vouches for.
 *
 * PostgreSQL's own parser reports what is wrong with a text instead of
 * raising it; depth, number of members and bytes are bounded before.  The
 * document is a list of paths ("error.code", "data.0.id") with their values,
 * in the server's encoding.  A point or backslash within a name has a backslash
 * before it in the path, so that no two members share one.
 */
#include "postgres.h"

#include <math.h>

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "psp/psp.h"
#include "utils/json.h"

#define MAX_DEPTH 32
#define MAX_MEMBERS 20000
#define MAX_PATH	1000		/* bytes; a member further down cannot be asked for */

/* levels of a list of which the members are kept: itself, its array, elements */
#define LIST_LEVELS 2

typedef struct Member
{
	char	   *path;			/* NULL: too long to be asked for */
	char	   *text;			/* scalars, without escapes; NULL: null or not a
								 * scalar */
	JsonTokenType type;			/* of scalars */
	const char *start;			/* as written */
	int			length;
} Member;

struct PlDocument
{
	Member	   *members;
	int			n;
	int			allocated;
	int			levels;			/* members deeper than that are not kept */

	/* while parsing */
	JsonLexContext *lex;
	StringInfoData path;
	int			level;
	int			path_lengths[MAX_DEPTH + 1];	/* of path, outside of each level */
	int			indexes[MAX_DEPTH + 1]; /* next element of the array there */
	int			open[MAX_DEPTH + 1];	/* member of the object or array there */
};

/* Add a member at the present path; its index. */
static int
add_member(PlDocument *document, char *text, const char *start)
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
	member->text = text;
	member->type = JSON_TOKEN_INVALID;
	member->start = start;
	member->length = 0;
	return document->n++;
}

static void
enter(PlDocument *document)
{
	document->open[document->level] = document->level > document->levels ? -1
		: add_member(document, NULL, document->lex->token_start);
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
	step_in(state, name);
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

	/* the token is behind the parser already, its raw form is not needed */
	if (document->level <= document->levels)
	{
		int			i = add_member(document, type == JSON_TOKEN_NULL ? NULL : token, NULL);

		document->members[i].type = type;
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

	document->lex = PlMakeJsonLexContext(body, length, GetDatabaseEncoding());
	if (pg_parse_json(document->lex, &actions) != JSON_SUCCESS)
		return "not JSON";
	return NULL;
}

/* As pl_document(), with the members of so many levels. */
static PlDocument *
read_document(const char *body, size_t length, int levels, const char **problem)
{
	MemoryContext context = CurrentMemoryContext;
	PlDocument *document = palloc0(sizeof(PlDocument));

	*problem = NULL;
	document->levels = levels;
	if (strlen(body) != length || !pg_verify_mbstr(PG_UTF8, body, length, true))
	{
		*problem = "not UTF-8 text";
		return NULL;
	}
	*problem = too_much(body, length, levels);
	if (*problem != NULL)
		return NULL;
	initStringInfo(&document->path);

	/*
	 * In a database of another encoding a character may have no equivalent;
	 * conversion raises that, having acquired nothing.
	 */
	PG_TRY();
	{
		char	   *text = pg_any_to_server(body, length, PG_UTF8);

		*problem = parse(document, text, strlen(text));
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_UNTRANSLATABLE_CHARACTER &&
			geterrcode() != ERRCODE_CHARACTER_NOT_IN_REPERTOIRE)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		*problem = "not representable in this database's encoding";
	}
	PG_END_TRY();
	return *problem ? NULL : document;
}

/*
 * The JSON text in body (UTF-8, NUL terminated), palloc'd; NULL if it is none,
 * with the reason in *problem.  Raises nothing but 53200 out of memory.
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

static const Member *
find_member(const PlDocument *document, const char *path)
{
	for (int i = 0; i < document->n; i++)
		if (document->members[i].path != NULL && strcmp(document->members[i].path, path) == 0)
			return &document->members[i];
	return NULL;
}

static void
refuse(const char *what, const char *problem)
{
	ereport(ERROR,
			(errcode(problem == too_deep ? ERRCODE_STATEMENT_TOO_COMPLEX :
					 problem == too_many ? ERRCODE_PROGRAM_LIMIT_EXCEEDED :
					 ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("%s is %s", what, problem)));
}

static int
by_path(const void *a, const void *b)
{
	return strcmp((*(const Member *const *) a)->path, (*(const Member *const *) b)->path);
}

/* Of two members with one name nobody knows which one counts. */
static void
refuse_duplicates(const PlDocument *document, const char *what)
{
	const Member **members = palloc(sizeof(Member *) * Max(document->n, 1));
	int			n = 0;

	for (int i = 0; i < document->n; i++)
		if (document->members[i].path != NULL)
			members[n++] = &document->members[i];
	qsort(members, n, sizeof(Member *), by_path);
	for (int i = 1; i < n; i++)
		if (strcmp(members[i - 1]->path, members[i]->path) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("%s has two members of one name", what),
					 errdetail("It is %s.", pl_redact(members[i]->path))));
	pfree(members);
}

/*
 * The JSON object in body (UTF-8, NUL terminated), palloc'd.  what names it in
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
	if (document->members[0].start == NULL || document->members[0].start[0] != '{')
		refuse(what, "not a JSON object");
	return document;
}

/*
 * The elements of the array of that name in the JSON object in body, as they
 * were written (char *, palloc'd, in the server's encoding): for lists that are
 * too long to look at as one document.  *list becomes what surrounds them.
 * Raises as pl_require_document(), and 22023 without such an array.
 */
List *
pl_require_elements(const char *what, const char *body, size_t length, const char *name, PlDocument **list)
{
	const char *problem;
	PlDocument *document = read_document(body, length, LIST_LEVELS, &problem);
	List	   *elements = NIL;
	const Member *array;

	if (document == NULL)
		refuse(what, problem);
	refuse_duplicates(document, what);
	array = find_member(document, name);
	if (array == NULL || array->start == NULL || array->start[0] != '[')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no list \"%s\"", what, name)));
	/* what is kept below it are its elements, next to it */
	for (const Member *member = array + 1; member < document->members + document->n; member++)
	{
		if (member->start == NULL || member->start > array->start + array->length)
			break;
		elements = lappend(elements, pnstrdup(member->start, member->length));
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

	return member && member->start ? pnstrdup(member->start, member->length) : NULL;
}

/*
 * The value at a path as JSON text, palloc'd; NULL if there is none, or null.
 */
char *
pl_document_json(const PlDocument *document, const char *path)
{
	const Member *member = find_member(document, path);
	StringInfoData json;

	if (member == NULL || member->type == JSON_TOKEN_NULL)
		return NULL;
	if (member->start != NULL)
		return pnstrdup(member->start, member->length);
	if (member->type != JSON_TOKEN_STRING)
		return pstrdup(member->text);
	initStringInfo(&json);
	escape_json(&json, member->text);
	return json.data;
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

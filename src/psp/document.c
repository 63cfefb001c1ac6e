/*
 * src/psp/document.c
 *		Reading JSON that nobody vouches for.
 *
 * PostgreSQL's own parser reports what is wrong with a text instead of
 * raising it; depth, number of members and bytes are bounded before.  The
 * document is a list of paths ("error.code", "data.0.id") with their values,
 * in the server's encoding.
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "psp/psp.h"

#define MAX_DEPTH 32
#define MAX_MEMBERS 20000
#define MAX_PATH	1000		/* bytes; a member further down cannot be asked for */

typedef struct Member
{
	char	   *path;			/* NULL: too long to be asked for */
	char	   *text;			/* scalars, without escapes; NULL: null or not a
								 * scalar */
	const char *start;			/* as written */
	int			length;
} Member;

struct PlDocument
{
	Member	   *members;
	int			n;
	int			allocated;

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
	member->start = start;
	member->length = 0;
	return document->n++;
}

static void
enter(PlDocument *document)
{
	document->open[document->level] = add_member(document, NULL, document->lex->token_start);
	document->indexes[document->level++] = 0;
}

static void
leave(PlDocument *document)
{
	Member	   *member = &document->members[document->open[--document->level]];

	member->length = document->lex->prev_token_terminator - member->start;
}

/* Make the path longer by a step; the level's length before is remembered. */
static void
step_in(PlDocument *document, const char *step)
{
	document->path_lengths[document->level] = document->path.len;
	if (document->path.len > 0)
		appendStringInfoChar(&document->path, '.');
	appendStringInfoString(&document->path, step);
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
	int			i = add_member(document, type == JSON_TOKEN_NULL ? NULL : token,
							   document->lex->prev_token_terminator);

	/* the token is behind the parser already, its raw form is not needed */
	document->members[i].start = NULL;
	PL_JSON_CALLBACK_DONE;
}

/*
 * Nesting and number of members, without recursion and before any allocation;
 * generous, for text that turns out not to be JSON.
 */
static const char *
too_much(const char *body, size_t length)
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
				return "nested too deeply";
		}
		else if (c == '}' || c == ']')
			depth--;
		else if ((c == ',' || c == ':') && ++members > MAX_MEMBERS)
			return "too many members";
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

/*
 * The JSON text in body (UTF-8, NUL terminated), palloc'd; NULL if it is none,
 * with the reason in *problem.  Raises nothing but 53200 out of memory.
 */
PlDocument *
pl_document(const char *body, size_t length, const char **problem)
{
	MemoryContext context = CurrentMemoryContext;
	PlDocument *document = palloc0(sizeof(PlDocument));

	*problem = NULL;
	if (strlen(body) != length || !pg_verify_mbstr(PG_UTF8, body, length, true))
	{
		*problem = "not UTF-8 text";
		return NULL;
	}
	*problem = too_much(body, length);
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

static const Member *
find_member(const PlDocument *document, const char *path)
{
	for (int i = 0; i < document->n; i++)
		if (document->members[i].path != NULL && strcmp(document->members[i].path, path) == 0)
			return &document->members[i];
	return NULL;
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

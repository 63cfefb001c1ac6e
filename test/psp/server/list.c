/*-------------------------------------------------------------------------
 *
 * list.c
 *		A growing array of pointers.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

/* Appends to a list and returns the index. */
size_t
list_add(List *list, void *item)
{
	if (list->count == list->size)
	{
		list->size = list->size == 0 ? 256 : list->size * 2;
		list->items = xrealloc(list->items, list->size * sizeof(void *));
	}
	list->items[list->count] = item;
	return list->count++;
}

/* Frees a list, not its items. */
void
list_free(List *list)
{
	free(list->items);
	memset(list, 0, sizeof(*list));
}

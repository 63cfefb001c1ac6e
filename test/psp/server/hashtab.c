/*-------------------------------------------------------------------------
 *
 * hashtab.c
 *		String-keyed hash table with linear probing.
 *
 * Keys are not copied: they live inside the values.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

/* Returns the slot that holds key, or the free one where it would go. */
static HashSlot *
find_slot(const HashTable *table, const char *key, uint64_t hash)
{
	size_t		mask = table->nslots - 1;
	size_t		at = hash & mask;

	while (table->slots[at].key != NULL &&
		   (table->slots[at].hash != hash ||
			strcmp(table->slots[at].key, key) != 0))
		at = (at + 1) & mask;
	return &table->slots[at];
}

/* Doubles the table. */
static void
grow(HashTable *table)
{
	HashTable	bigger = {0};

	bigger.nslots = table->nslots == 0 ? 64 : table->nslots * 2;
	bigger.slots = xcalloc(bigger.nslots, sizeof(HashSlot));
	bigger.used = table->used;
	for (size_t i = 0; i < table->nslots; i++)
		if (table->slots[i].key != NULL)
			*find_slot(&bigger, table->slots[i].key, table->slots[i].hash) =
				table->slots[i];
	free(table->slots);
	*table = bigger;
}

/* Returns the value of key, or NULL. */
void *
hash_get(const HashTable *table, const char *key)
{
	if (table->nslots == 0)
		return NULL;
	return find_slot(table, key, hash_bytes(key, strlen(key)))->value;
}

/* Stores a value that is not there yet. */
void
hash_put(HashTable *table, const char *key, void *value)
{
	uint64_t	hash = hash_bytes(key, strlen(key));
	HashSlot   *slot;

	if ((table->used + 1) * 3 > table->nslots * 2)
		grow(table);
	slot = find_slot(table, key, hash);
	slot->key = key;
	slot->hash = hash;
	slot->value = value;
	table->used++;
}

/* Forgets a key, if it is there; slots after it move up. */
void
hash_remove(HashTable *table, const char *key)
{
	size_t		mask = table->nslots - 1;
	HashSlot   *slot;
	size_t		hole;

	if (table->nslots == 0)
		return;
	slot = find_slot(table, key, hash_bytes(key, strlen(key)));
	if (slot->key == NULL)
		return;
	hole = (size_t) (slot - table->slots);
	for (size_t at = (hole + 1) & mask; table->slots[at].key != NULL;
		 at = (at + 1) & mask)
	{
		size_t		home = table->slots[at].hash & mask;

		/* an entry may move up only as far as its home */
		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		table->slots[hole] = table->slots[at];
		hole = at;
	}
	memset(&table->slots[hole], 0, sizeof(HashSlot));
	table->used--;
}

/* Empties the table; free_value may be NULL. */
void
hash_clear(HashTable *table, void (*free_value) (void *))
{
	if (free_value != NULL)
		for (size_t i = 0; i < table->nslots; i++)
			if (table->slots[i].key != NULL)
				free_value(table->slots[i].value);
	free(table->slots);
	memset(table, 0, sizeof(*table));
}

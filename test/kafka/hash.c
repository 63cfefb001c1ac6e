/*
 * hash.c
 *		128-bit hashes and a table keyed by them.
 */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "tool.h"

#define FIRST_CAPACITY 1024

/*
 * The halves of a 128-bit product, folded.
 */
static inline uint64_t
mix(uint64_t x, uint64_t y)
{
	unsigned __int128 product = (unsigned __int128) x * y;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

Hash
hash_bytes(Hash seed, const void *data, size_t len)
{
	const char *p = data;
	Hash		hash = {seed.a ^ len, seed.b + len};

	while (len > 0)
	{
		uint64_t	word = 0;
		size_t		n = len < sizeof(word) ? len : sizeof(word);

		memcpy(&word, p, n);
		hash.a = mix(hash.a ^ word ^ UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db));
		hash.b = mix(hash.b ^ word ^ UINT64_C(0x8ebc6af09c88c6e3), UINT64_C(0x589965cc75374cc3));
		p += n;
		len -= n;
	}
	hash.a = mix(hash.a ^ UINT64_C(0x1d8e4e27c47d124f), hash.b | 1);
	hash.b = mix(hash.b ^ UINT64_C(0xeb44accab455d165), hash.a | 1);
	return hash;
}

void
table_init(Table *table, size_t value_size)
{
	table->entry_size = sizeof(Hash) + (value_size + 7) / 8 * 8;
	table->capacity = FIRST_CAPACITY;
	table->used = 0;
	table->entries = calloc(table->capacity, table->entry_size);
	if (table->entries == NULL)
		die("out of memory");
}

/*
 * The entry of a key, or the free one where it belongs. Zero marks a free
 * entry; no hash that matters is zero.
 */
static Hash *
find_entry(const Table *table, Hash key)
{
	size_t		i = key.a & (table->capacity - 1);

	for (;;)
	{
		Hash	   *entry = (Hash *) (table->entries + i * table->entry_size);

		if ((entry->a == key.a && entry->b == key.b) || (entry->a == 0 && entry->b == 0))
			return entry;
		i = (i + 1) & (table->capacity - 1);
	}
}

static void
enlarge(Table *table)
{
	Table		old = *table;

	table->capacity *= 2;
	table->entries = calloc(table->capacity, table->entry_size);
	if (table->entries == NULL)
		die("out of memory");
	for (size_t i = 0; i < old.capacity; i++)
	{
		Hash	   *entry = (Hash *) (old.entries + i * old.entry_size);

		if (entry->a != 0 || entry->b != 0)
			memcpy(find_entry(table, *entry), entry, old.entry_size);
	}
	free(old.entries);
}

void *
table_enter(Table *table, Hash key, bool *found)
{
	Hash	   *entry;

	if (table->used >= table->capacity / 4 * 3)
		enlarge(table);
	entry = find_entry(table, key);
	*found = entry->a != 0 || entry->b != 0;
	if (!*found)
	{
		*entry = key;
		table->used++;
	}
	return entry + 1;
}

void *
table_lookup(const Table *table, Hash key)
{
	Hash	   *entry = find_entry(table, key);

	return entry->a == 0 && entry->b == 0 ? NULL : entry + 1;
}

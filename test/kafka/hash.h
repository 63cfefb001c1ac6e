/*
 * hash.h
 *		128-bit hashes and a table keyed by them.
 *
 * The table keeps hashes instead of texts, so that an event costs 16 bytes
 * however long its id is. With ten million ids the chance that any two of
 * them share a hash is below 1e-24.
 */
#ifndef HASH_H
#define HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Hash
{
	uint64_t	a;
	uint64_t	b;
} Hash;

typedef struct Table
{
	size_t		entry_size;		/* the key and its value, padded */
	size_t		capacity;
	size_t		used;
	char	   *entries;
} Table;

extern Hash hash_bytes(Hash seed, const void *data, size_t len);
extern void table_init(Table *table, size_t value_size);

/*
 * The zeroed or earlier stored value of a key. It stays in place until the
 * next call for the same table.
 */
extern void *table_enter(Table *table, Hash key, bool *found);
extern void *table_lookup(const Table *table, Hash key);

#endif							/* HASH_H */

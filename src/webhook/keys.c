/*
 * src/webhook/keys.c
 *		The keys that webhooks are signed with, where backends can check by
 *		them: in shared memory.
 *
 * Only the gateway worker reads the secrets file.  Of what is in it, it
 * publishes the keys named webhook_secret, which prove who sent a webhook and
 * move no money; API keys stay in its own memory.  No SQL reaches these
 * entries.  They outlive the worker, so that webhooks are taken while it is
 * started again.
 */
#include "postgres.h"

#include "gateway/gateway.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "webhook/webhook_internal.h"

/* entries for all databases of the cluster: several keys count while they are changed */
#define MAX_KEYS 256

/* Plain data only. */
typedef struct KeyEntry
{
	Oid			database;		/* InvalidOid: free */
	char		gateway[NAMEDATALEN];
	PlWebhookKey key;
} KeyEntry;

typedef struct KeysShared
{
	LWLock	   *lock;			/* protects entries */
	KeyEntry	entries[MAX_KEYS];
} KeysShared;

static KeysShared *keys_shared = NULL;

Size
pl_webhook_keys_shmem_size(void)
{
	return sizeof(KeysShared);
}

/*
 * Attach to the keys, clearing them if this is the first process.  Called by
 * the shmem_startup_hook with AddinShmemInitLock held.
 */
void
pl_webhook_keys_shmem_init(void)
{
	bool		found;

	keys_shared = ShmemInitStruct("payledger webhook keys", sizeof(KeysShared), &found);
	if (found)
		return;
	memset(keys_shared, 0, sizeof(KeysShared));
	keys_shared->lock = &(GetNamedLWLockTranche("payledger webhook keys"))->lock;
}

/* What publish_key() has done so far. */
typedef struct Publishing
{
	int			slot;			/* entries before it are taken */
	const char *refused;		/* gateway of the first key without room */
} Publishing;

/* Put a key into the next free entry. */
static void
publish_key(const char *gateway, const char *value, void *arg)
{
	Publishing *publishing = arg;
	KeyEntry   *entry;

	while (publishing->slot < MAX_KEYS && keys_shared->entries[publishing->slot].database != InvalidOid)
		publishing->slot++;
	if (publishing->slot == MAX_KEYS || strlen(gateway) >= NAMEDATALEN || strlen(value) >= sizeof(PlWebhookKey))
	{
		if (publishing->refused == NULL)
			publishing->refused = gateway;
		return;
	}
	entry = &keys_shared->entries[publishing->slot];
	entry->database = MyDatabaseId;
	strlcpy(entry->gateway, gateway, NAMEDATALEN);
	strlcpy(entry->key.value, value, sizeof(PlWebhookKey));
}

/*
 * Replace the published keys of this database by those of the secrets file as
 * it was read last; unless all, those of gateways that it has no section of
 * stay.  Returns the gateway of the first key that found no room, or is too
 * long, palloc'd; NULL: all are there.
 */
char *
pl_webhook_keys_publish(bool all)
{
	Publishing publishing = {0};

	LWLockAcquire(keys_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_KEYS; i++)
		if (keys_shared->entries[i].database == MyDatabaseId &&
			(all || pl_has_secrets(keys_shared->entries[i].gateway)))
			explicit_bzero(&keys_shared->entries[i], sizeof(KeyEntry));
	pl_each_webhook_secret(publish_key, &publishing);
	LWLockRelease(keys_shared->lock);
	return publishing.refused ? pstrdup(publishing.refused) : NULL;
}

/*
 * The keys of a gateway of this database, palloc'd; wipe them after use.
 */
PlWebhookKey *
pl_webhook_keys(const char *gateway, int *nkeys)
{
	PlWebhookKey *keys = palloc0(sizeof(PlWebhookKey) * MAX_KEYS);

	*nkeys = 0;
	if (keys_shared == NULL)
		return keys;
	LWLockAcquire(keys_shared->lock, LW_SHARED);
	for (int i = 0; i < MAX_KEYS; i++)
	{
		const KeyEntry *entry = &keys_shared->entries[i];

		if (entry->database == MyDatabaseId && strcmp(entry->gateway, gateway) == 0)
			keys[(*nkeys)++] = entry->key;
	}
	LWLockRelease(keys_shared->lock);
	return keys;
}

/*
 * Wipe and free what pl_webhook_keys() returned.
 */
void
pl_webhook_keys_wipe(PlWebhookKey *keys)
{
	explicit_bzero(keys, sizeof(PlWebhookKey) * MAX_KEYS);
	pfree(keys);
}

/*
 * src/payment/mirrors.c
 *		Taking an entry of the payment flow back by its mirror.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment_internal.h"
#include "utils/builtins.h"

static PlQuery find_entry = {
	"SELECT e.journal_entry_id, abs(p.amount) FROM payledger.journal_entries e"
	" JOIN payledger.postings p ON p.journal_entry_id = e.journal_entry_id AND p.leg = 1"
	" WHERE e.reference = $1", 1, {TEXTOID}
};

/*
 * Post the mirror of the entry with the reference "entry_type:object", if there
 * is one: "entry_type_REVERSAL:object", naming it, of all of its amount or of
 * most if that is less (minor units).  Returns the amount, 0 for none.  For
 * entries of which all legs have one amount.  Needs an open SPI connection.
 */
int64
pl_post_mirror(PlWork *work, const char *entry_type, const char *object, int64 payment_id,
			   const char *seller_id, const char *currency, int64 most)
{
	return pl_post_part_mirror(work, entry_type, object, NULL, payment_id, seller_id, currency, most);
}

/*
 * The same of an entry that may be taken back in several parts: part tells
 * their references "entry_type_REVERSAL:object:part" apart.
 */
int64
pl_post_part_mirror(PlWork *work, const char *entry_type, const char *object, const char *part, int64 payment_id,
					const char *seller_id, const char *currency, int64 most)
{
	PlArgs		args = {0};
	int64		amount;

	pl_arg_text(&args, psprintf("%s:%s", entry_type, object));
	if (pl_execute(&find_entry, &args) == 0)
		return 0;
	amount = Min(pl_get_int64(0, 2), most);
	pl_post_template(work->entries, psprintf("%s_REVERSAL", entry_type), payment_id,
					 part == NULL ? psprintf("%s_REVERSAL:%s", entry_type, object) :
					 psprintf("%s_REVERSAL:%s:%s", entry_type, object, part),
					 pl_get_int64(0, 1), seller_id, currency, amount);
	return amount;
}

# Each check of verify() that is not the ledger's (145 has those) finds what it
# is for: an edit with all triggers disabled, what the check says, and the edit
# is undone.  A check that nobody tries here makes the test fail.

use strict;
use warnings FATAL => 'all';

use PayledgerTest;
use Test::More;

my $node = new_node('verify_checks', 'fsync' => 'off');

sql($node, <<~'SQL');
	SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
	SELECT payledger.add_gateway('other', adapter => 'sandbox');
	SELECT payledger.add_routing_rule('sandbox', currency => 'EUR');
	SELECT payledger.set_reserve_terms('SELLER-222', 'EUR', 1000, 30);
	SELECT payledger.route_event('payout_requested', topic => 'elsewhere');
	SQL

# An order is found by its name and seller.
my $paid = create_authorized($node, 'pm_ok', [ 10000, 4000 ], order_id => 'PAID');
my $manual = create_authorized($node, 'pm_ok', [ 3000, 700 ], order_id => 'MANUAL', capture_method => 'manual');
my $declined = create_authorized($node, 'pm_declined', [500], order_id => 'DECLINED');
my $disputed = create_authorized($node, 'pm_ok', [ 2000, 2500 ], order_id => 'DISPUTED');
settle($node);

sql($node, <<~'SQL');
	CREATE FUNCTION payment(order_id text) RETURNS bigint LANGUAGE sql STABLE AS
	$$ SELECT i.payment_intent_id FROM payledger.payment_intents i WHERE i.order_id = payment.order_id $$;
	CREATE FUNCTION order_of(order_id text, seller text DEFAULT 'SELLER-111') RETURNS bigint LANGUAGE sql STABLE AS
	$$ SELECT o.payment_order_id FROM payledger.payment_orders o WHERE o.payment_id = payment(order_id) AND o.seller_id = seller $$;
	CREATE FUNCTION event(event_type text, n int DEFAULT 1) RETURNS bigint LANGUAGE sql STABLE AS
	$$ SELECT seq FROM payledger.outbox_events WHERE type = event_type ORDER BY seq OFFSET n - 1 LIMIT 1 $$;

	SELECT payledger.refund(order_of('PAID'), 1000, 'damaged');
	SELECT payledger.open_dispute(order_of('DISPUTED'), 2000, 'dp_won', fee => 1500);
	SELECT payledger.open_dispute(order_of('DISPUTED', 'SELLER-222'), 2500, 'dp_open');
	SQL
settle($node);
sql($node, <<~'SQL');
	SELECT payledger.close_dispute((SELECT dispute_id FROM payledger.disputes WHERE psp_reference = 'dp_won'), 'WON');
	SELECT payledger.import_settlement('sandbox', 'REPORT', payledger.sandbox_settlement('sandbox', fee_bps => 200));
	SELECT payledger.reconcile_settlement('REPORT');
	SELECT payledger.set_payout_terms('SELLER-111', 'EUR', gateway => 'sandbox', beneficiary => 'ba_1');
	SELECT payledger.request_payout('SELLER-111', 'EUR', amount => 2000);
	SQL
settle($node);

# no worker may mend or take what is edited
$node->append_conf('postgresql.conf', "payledger.databases = ''");
$node->restart;
sql($node, <<~'SQL');
	SELECT payledger.refund(order_of('PAID'), 700, 'still open');
	SELECT payledger.request_payout('SELLER-111', 'EUR', amount => 300);
	SELECT payledger.capture(order_of('MANUAL'), 1200, final => false);
	SELECT payledger.request_authorization(i.payment_intent_id, 'pm_ok')
	  FROM payledger.create_payment_intent('WAITING', 'BUYER-1', 'EUR', '[{"seller_id":"SELLER-111","amount":100}]') i;
	SELECT payledger.fold_postings();
	SQL
is(sql($node, 'SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok'), '', 'verify() finds nothing');

my $room_of = { map { split /\|/ } split /\n/, sql($node, <<~'SQL') };
	SELECT format('SELECT c.check_name || ''|'' || %L FROM payledger.%I() c', p.proname, p.proname)
	  FROM pg_proc p WHERE p.pronamespace = 'payledger'::regnamespace AND p.proname LIKE '%\_checks' AND p.pronargs = 0 AND p.proretset
	 ORDER BY 1 \gexec
	SQL
my %seen;

# What one check says after an edit: at least one offence is like the pattern.
sub finds
{
	my ($check, $edit, $pattern) = @_;

	$seen{$check}++;
	return fail("$check: no such check") if !$room_of->{$check};
	my ($code, $out, $err) = $node->psql('payledger', <<~"SQL");
		BEGIN;
		SELECT format('ALTER TABLE %s DISABLE TRIGGER ALL', oid::regclass) FROM pg_class
		 WHERE relnamespace = 'payledger'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname \\gexec
		$edit;
		SELECT query FROM payledger.$room_of->{$check}() WHERE check_name = '$check' \\gexec
		ROLLBACK;
		SQL
	like($out, qr/$pattern/, "$check: $edit") or diag($err);
	return;
}

# A check of guards, by a trigger of each table that it names.
sub guards
{
	my ($check, %triggers) = @_;

	$seen{$check}++;
	for my $table (sort keys %triggers)
	{
		like(sql($node, <<~"SQL"), qr/trigger $triggers{$table} of $table\w* is missing/, "$check: $triggers{$table} of $table");
			BEGIN;
			DROP TRIGGER $triggers{$table} ON payledger.$table;
			SELECT query FROM payledger.$room_of->{$check}() WHERE check_name = '$check' \\gexec
			ROLLBACK;
			SQL
	}
	return;
}

my $id = '\d{15,}';

# ---- intents, payments and their orders ----

finds('intents_have_payments', q{UPDATE payledger.payment_intents SET status = 'CREATED' WHERE order_id = 'PAID'}, "intent $id is CREATED 14000 EUR, its payment 14000 EUR");
finds('intents_have_payments', q{UPDATE payledger.payment_intents SET total_amount = 14001 WHERE order_id = 'PAID'}, "intent $id is AUTHORIZED 14001 EUR, its payment 14000 EUR");
finds('intents_have_payments', q{DELETE FROM payledger.payments WHERE order_id = 'PAID'}, "intent $id is AUTHORIZED 14000 EUR, its payment missing");
finds('intents_have_payments', q{UPDATE payledger.payments SET order_id = 'ANOTHER' WHERE order_id = 'PAID'}, "intent $id is AUTHORIZED 14000 EUR");
finds('orders_match_lines', q{DELETE FROM payledger.payment_orders WHERE payment_order_id = order_of('PAID')}, "payment $id has 1 orders for the 2 lines of its intent, of which 1 agree");
finds('orders_match_lines', q{UPDATE payledger.payment_orders SET amount = 9999 WHERE payment_order_id = order_of('PAID')}, "payment $id has 2 orders for the 2 lines of its intent, of which 1 agree");
finds('totals_match_orders', q{UPDATE payledger.payment_orders SET captured_amount = captured_amount - 1 WHERE payment_order_id = order_of('PAID')}, "payment $id: total 14000, captured 14000, .* its orders 14000, 13999");
finds('totals_match_orders', q{UPDATE payledger.payment_orders SET voided_amount = 1 WHERE payment_order_id = order_of('PAID')}, "payment $id: .* voided 0; its orders 14000, 14000, 1000, 1");
finds('totals_match_orders', q{DELETE FROM payledger.payments WHERE order_id = 'PAID'}, "order $id belongs to payment $id, which does not exist");
finds('orders_are_decided', q{UPDATE payledger.payment_orders SET status = 'CANCELLED' WHERE payment_order_id = order_of('MANUAL', 'SELLER-222')}, "order $id is CANCELLED: of 700, 0 are captured, 0 pending, 0 given back");
finds('orders_are_decided', q{UPDATE payledger.payment_orders SET voided_amount = 5 WHERE payment_order_id = order_of('MANUAL', 'SELLER-222')}, "order $id is INITIATED_PENDING: .* 5 given back");
finds('orders_are_decided', q{UPDATE payledger.payment_orders SET capture_pending_amount = 0 WHERE payment_order_id = order_of('MANUAL')}, "order $id is CAPTURE_REQUESTED: .* 0 pending");
finds('status_matches_totals', q{UPDATE payledger.payments SET status = 'CAPTURED' WHERE order_id = 'PAID'}, "payment $id is CAPTURED: of 14000 it captured 14000, refunded 1000, voided 0");
finds('status_matches_totals', q{UPDATE payledger.payments SET captured_amount = 0, refunded_amount = 0, voided_amount = total_amount WHERE order_id = 'PAID'}, "payment $id is PARTIALLY_REFUNDED: of 14000 it captured 0");

# ---- what is posted ----

finds('captures_are_posted', q{UPDATE payledger.payment_orders SET captured_amount = 9000 WHERE payment_order_id = order_of('PAID')}, "order $id is \\w+ with 9000 captured, 1000 commission: posted are 10000 and 1000");
finds('captures_are_posted', q{UPDATE payledger.payment_orders SET commission_amount = 1 WHERE payment_order_id = order_of('PAID')}, "order $id is \\w+ with 10000 captured, 1 commission: posted are 10000 and 1000");
finds('captures_are_posted', q{DELETE FROM payledger.payment_orders WHERE payment_order_id = order_of('PAID')}, "order $id is missing with 0 captured, 0 commission: posted are 10000 and 1000");
finds('captures_are_asked', q{UPDATE payledger.psp_requests SET status = 'REFUSED' WHERE operation = 'CAPTURE' AND payment_id = payment('MANUAL')}, "payment $id waits for 1200 to be captured, its requests ask for 0");
finds('captures_are_asked', q{UPDATE payledger.payment_orders SET capture_pending_amount = 1000 WHERE payment_order_id = order_of('MANUAL')}, "payment $id waits for 1000 to be captured, its requests ask for 1200");
finds('refunds_are_posted', q{UPDATE payledger.refunds SET amount = 999 WHERE amount = 1000}, "refund $id is SUCCEEDED of 999 with \\d+ commission: posted are 1000 asked, 1000 done");
finds('refunds_are_posted', q{UPDATE payledger.refunds SET status = 'FAILED' WHERE amount = 700}, "refund $id is FAILED of 700 .* posted are 700 asked, 0 done");
finds('refunds_are_posted', q{UPDATE payledger.refunds SET commission_amount = commission_amount + 1 WHERE amount = 1000}, "refund $id is SUCCEEDED of 1000 with \\d+ commission");
finds('orders_match_refunds', q{UPDATE payledger.payment_orders SET refunded_amount = 900 WHERE payment_order_id = order_of('PAID')}, "order $id: refunded 900, pending 700, commission \\d+; its refunds 1000, 700");
finds('orders_match_refunds', q{UPDATE payledger.refunds SET payment_order_id = 42 WHERE amount = 700}, "refund $id is for order 42 of payment $id, which does not exist");
finds('holds_match_payments', q{UPDATE payledger.payments SET voided_amount = 1 WHERE order_id = 'MANUAL'}, "payment $id holds 3700, its totals leave 3699");
finds('holds_match_payments', q{UPDATE payledger.journal_entries SET reference = 'LOST' WHERE reference = 'AUTH_HOLD:' || payment('PAID')}, "payment $id has no AUTH_HOLD of 14000");
finds('clearing_is_explained', q{UPDATE payledger.payments SET voided_amount = 1 WHERE order_id = 'MANUAL'}, 'AUTH_\w+\.GLOBAL\.EUR is 3700, open payments explain 3699');
finds('clearing_is_explained', q{UPDATE payledger.refunds SET status = 'SUCCEEDED' WHERE amount = 700}, 'REFUND_CLEARING\.GLOBAL\.EUR is 700, open refunds explain 0');
finds('clearing_is_explained', q{UPDATE payledger.balance_snapshots SET balance = balance - 5 WHERE account_id = (SELECT account_id FROM payledger.accounts WHERE account_code = 'REFUND_CLEARING.GLOBAL.EUR')}, 'REFUND_CLEARING\.GLOBAL\.EUR is 705, open refunds explain 700');

# ---- histories, requests, ids ----

finds('history_explains_states', q{UPDATE payledger.refunds SET status = 'PENDING' WHERE amount = 700}, "refund $id is PENDING, its history says REQUESTED");
finds('history_explains_states', q{DELETE FROM payledger.state_history WHERE machine = 'payment_intent' AND to_status = 'PENDING_AUTH' AND object_id = payment('PAID')}, "payment_intent $id went from PENDING_AUTH to AUTHORIZED, but was CREATED");
finds('history_explains_states', q{DELETE FROM payledger.payments WHERE order_id = 'PAID'}, "payment $id is missing, its history says");
finds('history_keeps_to_edges', q{UPDATE payledger.state_history SET to_status = 'AUTHORIZED' WHERE machine = 'payment_intent' AND object_id = payment('DECLINED') AND to_status = 'PENDING_AUTH'}, "payment_intent $id went from CREATED to AUTHORIZED");
finds('references_are_unique', q{UPDATE payledger.payments SET psp_reference = 'pi_same' WHERE order_id IN ('PAID', 'MANUAL')}, "2 payments of gateway sandbox have the reference pi_same: $id and $id");
finds('references_are_unique', q{UPDATE payledger.payment_intents SET psp_reference = 'pi_same' WHERE order_id IN ('PAID', 'WAITING')}, "2 intents of gateway sandbox have the reference pi_same");
finds('references_are_unique', q{UPDATE payledger.payouts SET psp_reference = 'po_same'}, "2 payouts of gateway sandbox have the reference po_same");
finds('waiting_work_has_requests', q{UPDATE payledger.psp_requests SET status = 'REFUSED' WHERE payment_id = payment('WAITING')}, "intent $id is PENDING_AUTH and nothing asks the PSP");
finds('waiting_work_has_requests', q{UPDATE payledger.psp_requests SET status = 'REFUSED' WHERE operation = 'REFUND'}, "refund $id is REQUESTED and nothing asks the PSP");
finds('ids_are_unique', q{UPDATE payledger.payment_orders SET payment_order_id = 42 WHERE seller_id = 'SELLER-111'}, '\d payment orders have the id 42');
finds('ids_are_unique', q{INSERT INTO payledger.refunds SELECT refund_id, 42, payment_order_id, seller_id, amount, currency, commission_amount, reason, status, failure_code, created_at, updated_at FROM payledger.refunds WHERE amount = 700}, "2 refunds have the id $id");
finds('ids_are_unique', q{UPDATE payledger.psp_requests SET psp_request_id = 42 WHERE operation = 'AUTHORIZE'}, '\d requests have the id 42');
finds('ids_are_unique', q{UPDATE payledger.state_history SET history_id = 42 WHERE machine = 'payment' AND from_status IS NULL}, '\d history rows have the id 42');

# ---- events ----

finds('events_follow_payments', q{UPDATE payledger.payments SET event_version = event_version + 1 WHERE order_id = 'PAID'}, "payment $id is at event version \\d+, its events are 1 to \\d+");
finds('events_follow_payments', q{DELETE FROM payledger.outbox_events WHERE type = 'payment_intent_created' AND aggregateid = payment('PAID')::text}, "payment $id is at event version \\d+, its events are 2 to \\d+");
finds('events_follow_entries', q{DELETE FROM payledger.outbox_events WHERE type = 'ledger_entries_recorded' AND aggregateid = (SELECT journal_entry_id::text FROM payledger.journal_entries WHERE reference = 'AUTH_HOLD:' || payment('PAID'))}, "entry $id has no event");
finds('events_follow_entries', q{UPDATE payledger.postings SET amount = amount * 2 WHERE journal_entry_id = (SELECT journal_entry_id FROM payledger.journal_entries WHERE reference = 'AUTH_HOLD:' || payment('PAID'))}, "event \\S+ does not say what entry $id posted");
finds('event_versions_are_contiguous', q{UPDATE payledger.outbox_events SET version = version + 1 WHERE aggregateid = payment('PAID')::text AND version > 3}, "aggregate payment $id: version 5 follows 3");
finds('event_versions_are_contiguous', q{UPDATE payledger.outbox_events SET version = 1 WHERE aggregateid = payment('PAID')::text AND version = 2}, "aggregate payment $id: version 1 follows 1");
finds('event_types_are_known', q{UPDATE payledger.outbox_events SET type = 'unheard_of' WHERE seq = event('payment_authorized')}, 'event \S+ is a unheard_of of payment');
finds('event_types_are_known', q{UPDATE payledger.outbox_events SET aggregatetype = 'payout' WHERE seq = event('payment_authorized')}, 'event \S+ is a payment_authorized of payout');
finds('event_ids_are_unique', q{UPDATE payledger.outbox_events SET id = (SELECT id FROM payledger.outbox_events WHERE seq = event('payment_authorized')) WHERE seq = event('payment_authorized', 2)}, '2 events have the id');
finds('event_payloads_agree', q{UPDATE payledger.outbox_events SET version = 99 WHERE seq = event('payment_authorized')}, "event \\S+: the payload is about \\S+, version \\d of $id");
finds('event_payloads_agree', q{UPDATE payledger.outbox_events SET aggregateid = '42' WHERE seq = event('payment_authorized')}, "the payload is about");
finds('event_payloads_agree', q{UPDATE payledger.outbox_events SET type = 'payment_voided' WHERE seq = event('payment_authorized')}, "the payload is about");
finds('events_are_well_formed', q{UPDATE payledger.outbox_events SET payload = '{"data": {}}' WHERE seq = event('payment_authorized')}, 'event \S+ of seq \d+: ');
finds('event_traces_agree', q{UPDATE payledger.outbox_events SET traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' WHERE seq = event('payment_authorized')}, 'event \S+: traceId is null, traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
finds('only_tombstones_are_empty', q{UPDATE payledger.outbox_events SET payload = NULL WHERE seq = event('payment_authorized')}, 'event \S+ is a payment_authorized');
finds('only_tombstones_are_empty', q{UPDATE payledger.outbox_events SET type = 'payment_tombstone' WHERE seq = event('payment_authorized')}, 'event \S+ is a payment_tombstone');
finds('event_data_has_its_members', q{UPDATE payledger.outbox_events SET payload = jsonb_set(payload::jsonb, '{data,more}', '1')::json WHERE seq = event('payment_authorized')}, 'event \S+, a payment_authorized: more is not a member');
finds('event_data_has_its_members', q{UPDATE payledger.outbox_events SET payload = (payload::jsonb #- '{data,currency}')::json WHERE seq = event('payment_authorized')}, 'currency is missing');
finds('event_data_has_its_members', q{UPDATE payledger.outbox_events SET payload = jsonb_set(payload::jsonb, '{data,currency}', '7')::json WHERE seq = event('payment_authorized')}, 'currency is a number');
guards('outbox_is_guarded', outbox_events => 'refuse_change');

# dead letters, phantoms and routes: rows as the relay writes them
my $letter = q{INSERT INTO payledger.dead_letters SELECT 1, 'PARKED', 'too large', 0, NULL, now(), now(), seq, id, aggregatetype, aggregateid, type, payload, "timestamp", version, event_key, ce_specversion, ce_source, ce_time, ce_subject, content_type, traceparent FROM payledger.outbox_events WHERE seq = event('payment_authorized')};
finds('dead_letters_are_events', "$letter; UPDATE payledger.dead_letters SET $_", 'dead letter 1 is not event') for q{version = 99}, q{payload = '{}'}, q{event_key = 'x'}, q{aggregateid = '42'};
guards('dead_letters_are_guarded', dead_letters => 'enforce_transition');
finds('phantoms_are_not_events', q{INSERT INTO payledger.phantoms SELECT 1, 'FOUND', id, ce_time, type, aggregateid, version, 't', 0, 0, event_key, NULL, NULL, NULL, now(), now() FROM payledger.outbox_events WHERE seq = event('payment_authorized')}, 'phantom 1 is event \S+ of seq');
finds('retractions_name_their_phantoms', q{INSERT INTO payledger.phantoms SELECT 1, 'READY', gen_random_uuid(), ce_time, type, aggregateid, version, 't', 0, 0, event_key, id, seq, NULL, now(), now() FROM payledger.outbox_events WHERE seq = event('payment_authorized')}, 'event \S+ does not retract phantom 1');
guards('phantoms_are_guarded', phantoms => 'refuse_delete', published_ahead => 'refuse_change');
finds('event_routes_are_known', q{UPDATE payledger.event_routes SET event_type = 'unheard_of'}, 'there is a route for unheard_of');
guards('replays_are_guarded', replays => 'refuse_identity_change');

# ---- disputes ----

finds('disputed_amounts_are_sums', q{UPDATE payledger.payment_orders SET disputed_amount = 1 WHERE payment_order_id = order_of('DISPUTED')}, "order $id has 1 disputed, its disputes make it 0");
finds('disputed_amounts_are_sums', q{UPDATE payledger.disputes SET status = 'WON' WHERE psp_reference = 'dp_open'}, "order $id has 2500 disputed, its disputes make it 0");
finds('disputes_belong_to_orders', q{UPDATE payledger.disputes SET seller_id = 'SELLER-111' WHERE psp_reference = 'dp_open'}, "dispute $id is not of its payment_order $id");
finds('disputes_belong_to_orders', q{UPDATE payledger.disputes SET gateway = 'other' WHERE psp_reference = 'dp_open'}, "dispute $id is not of its payment_order $id");
finds('disputes_belong_to_orders', q{UPDATE payledger.disputes SET payment_id = 42, psp_reference = 'dp_open' WHERE psp_reference = 'dp_won'}, 'dispute "dp_open" of gateway sandbox was opened for 2 payments');
finds('disputes_belong_to_orders', q{UPDATE payledger.disputes SET dispute_id = 42, payment_id = CASE psp_reference WHEN 'dp_won' THEN payment('PAID') ELSE payment_id END}, '2 disputes have the id 42');
finds('disputes_are_posted', q{UPDATE payledger.disputes SET amount = 1 WHERE psp_reference = 'dp_open'}, "dispute $id of 1 is NEEDS_RESPONSE in round 1: its 1 entries took 2500 from seller SELLER-222");
finds('disputes_are_posted', q{UPDATE payledger.disputes SET status = 'LOST' WHERE psp_reference = 'dp_won'}, "dispute $id of 2000 is LOST in round 1: its 2 entries");
finds('disputes_are_posted', q{UPDATE payledger.disputes SET round = 2 WHERE psp_reference = 'dp_open'}, "in round 2: its 1 entries");
finds('disputes_are_posted', q{UPDATE payledger.disputes SET borne_by_seller = false WHERE psp_reference = 'dp_open'}, "its 1 entries took 2500 from seller SELLER-222, 0 from the platform");
finds('disputes_are_posted', q{DELETE FROM payledger.disputes WHERE psp_reference = 'dp_open'}, "entry $id belongs to dispute $id, which does not exist");
finds('dispute_fees_are_posted', q{UPDATE payledger.disputes SET fee = 1 WHERE psp_reference = 'dp_open'}, "dispute $id has a fee of 1: posted are 0");
finds('dispute_fees_are_posted', q{UPDATE payledger.disputes SET fee_returned = NOT fee_returned WHERE psp_reference = 'dp_won'}, "dispute $id has a fee of 1500");
finds('disputes_are_open_items', q{DELETE FROM payledger.settlement_items WHERE kind = 'CHARGEBACK' AND amount = -2500}, "dispute $id took 2500 and a fee of 0 from the PSP's account, its items are 0 and 0");
finds('disputes_are_open_items', q{DELETE FROM payledger.settlement_items WHERE kind = 'CHARGEBACK_FEE'}, "dispute $id took");
guards('disputes_are_guarded', disputes => 'enforce_transition');

# ---- payouts and reserves ----

finds('payouts_are_posted', q{UPDATE payledger.payouts SET amount = 1999 WHERE amount = 2000}, "payout $id: its PAYOUT_REQUESTED should be MERCHANT_PAYABLE.SELLER-111.EUR 1999");
finds('payouts_are_posted', q{UPDATE payledger.payouts SET status = 'RETURNED' WHERE amount = 2000}, "payout $id is RETURNED and has no PAYOUT_PAID_REVERSAL");
finds('payouts_are_posted', q{UPDATE payledger.payouts SET status = 'FAILED' WHERE amount = 2000}, "entry $id, a PAYOUT_PAID with reference \\S+, belongs to no payout in such a state");
finds('payout_clearing_is_explained', q{UPDATE payledger.payouts SET status = 'PAID' WHERE amount = 300}, 'PAYOUT_CLEARING\.GLOBAL\.EUR is 300, payouts under way are 0');
finds('waiting_payouts_have_requests', q{UPDATE payledger.psp_requests SET status = 'REFUSED' WHERE operation = 'PAYOUT'}, "payout $id is REQUESTED and nothing asks the PSP");
finds('waiting_payouts_have_requests', q{INSERT INTO payledger.psp_requests (psp_request_id, payment_id, gateway, operation, target, currency, idempotency_key, status, next_attempt_at, created_at, updated_at) SELECT 42, payment_id, gateway, operation, target, currency, 'k', status, now(), now(), now() FROM payledger.psp_requests WHERE operation = 'PAYOUT' AND status = 'READY'}, "payout $id has 2 requests to pay");
finds('reserves_are_posted', q{UPDATE payledger.reserves SET amount = amount + 1 WHERE payment_id = payment('PAID')}, "reserve of request $id for order $id: withheld 401, released 0 of seller SELLER-222 EUR, posted are 400 and 0");
finds('reserves_are_posted', q{UPDATE payledger.reserves SET released_amount = 5 WHERE payment_id = payment('PAID')}, "withheld 400, released 5 of seller SELLER-222 EUR, posted are 400 and 0");
finds('reserves_are_posted', q{DELETE FROM payledger.reserves WHERE payment_id = payment('PAID')}, "withheld 0, released 0 of seller none");
finds('events_follow_payouts', q{UPDATE payledger.payouts SET event_version = 7 WHERE amount = 2000}, "payout $id is at event version 7, its events are 1 to \\d");
finds('events_follow_payouts', q{DELETE FROM payledger.outbox_events WHERE type = 'payout_requested'}, "payout $id is at event version \\d");
guards('payouts_are_guarded', payouts => 'enforce_transition', reserves => 'refuse_delete');

# ---- routing ----

finds('intents_keep_to_rules', q{UPDATE payledger.payment_intents SET gateway = 'other' WHERE order_id = 'PAID'}, "intent $id is at gateway other by rule $id, which does not name it");
finds('intents_keep_to_rules', q{DELETE FROM payledger.routing_rules}, "intent $id is at gateway sandbox by rule $id, which does not exist");
finds('intents_are_at_one_gateway', q{UPDATE payledger.psp_requests SET gateway = 'other' WHERE operation = 'AUTHORIZE' AND payment_id = payment('PAID')}, "intent $id is at gateway sandbox, request $id to gateway other is SUCCEEDED");
guards('routing_is_guarded', routing_rules => 'refuse_delete');

# ---- settlement ----

finds('open_items_match_receivables', q{UPDATE payledger.settlement_items SET settlement_report_id = NULL WHERE kind = 'CAPTURE' AND amount = 10000}, 'PSP_RECEIVABLES in EUR are -?\d+, open items \d+');
finds('items_name_their_line', q{UPDATE payledger.settlement_items SET line_no = 999 WHERE kind = 'CAPTURE' AND amount = 10000}, "1 items name line 999 of report $id, which does not exist");
finds('items_name_their_line', q{UPDATE payledger.settlement_items SET gateway = 'other' WHERE kind = 'CAPTURE' AND amount = 10000}, "1 items of gateway other are settled by report $id of sandbox");
finds('items_name_their_line', q{UPDATE payledger.settlement_items SET line_no = NULL WHERE kind = 'CAPTURE' AND amount = 10000}, "item $id of payment $id is settled by report $id and no line");
finds('items_name_their_line', q{UPDATE payledger.settlement_items SET settlement_report_id = NULL WHERE kind = 'CAPTURE' AND amount = 10000}, "item $id of payment $id names a line and no report");
finds('settlements_are_posted', q{UPDATE payledger.settlement_lines SET net = net + 1, fee = fee - 1 WHERE gross = 10000}, "report $id in EUR: posted are \\d+ cash");
finds('settlements_are_posted', q{UPDATE payledger.settlement_items SET amount = amount + 1 WHERE kind = 'CAPTURE' AND amount = 10000}, "report $id in EUR: posted are \\d+ cash and \\d+ of PSP_RECEIVABLES");
finds('lines_have_one_outcome', q{UPDATE payledger.settlement_items SET line_no = NULL, settlement_report_id = NULL WHERE kind = 'CAPTURE' AND amount = 10000}, "line \\d+ of report $id settled 0 items and has 0 exceptions");
finds('lines_have_one_outcome', q{INSERT INTO payledger.settlement_exceptions (settlement_exception_id, settlement_report_id, line_no, category, status, created_at) SELECT 1, settlement_report_id, line_no, 'OVER', 'OPEN', now() FROM payledger.settlement_items WHERE kind = 'CAPTURE' AND amount = 10000}, "line \\d+ of report $id settled 1 items and has 1 exceptions");
finds('lines_have_one_outcome', q{UPDATE payledger.settlement_reports SET matched = matched + 1}, "report $id says \\d+ lines, \\d+ matched");
finds('settlement_history_explains_states', q{DELETE FROM payledger.state_history WHERE machine = 'settlement_report' AND to_status = 'RECONCILED'}, "settlement_report $id is RECONCILED, its history says");
finds('reconciliations_are_told', q{DELETE FROM payledger.outbox_events WHERE type = 'settlement_reconciled'}, "report $id has no event");
guards('settlement_is_guarded', settlement_reports => 'enforce_transition', settlement_lines => 'refuse_change');

# ---- guards of the others ----

guards('payments_are_guarded', payments => 'totals_agree', refunds => 'refuse_identity_change', commission_rules => 'refuse_change');
guards('history_is_guarded', state_history => 'refuse_change');

# ---- whose the objects are; test/t/400_takeover.pl has more ----

finds('owner_is_powerless', q{ALTER ROLE payledger_owner CREATEDB}, 'role payledger_owner is CREATEDB');
finds('schema_is_closed', q{GRANT CREATE ON SCHEMA payledger TO PUBLIC}, 'role PUBLIC may create objects in schema payledger');
finds('objects_belong_to_owner', q{ALTER TABLE payledger.sellers OWNER TO CURRENT_USER}, 'table payledger\.sellers belongs to role');
finds('functions_are_the_extensions', q{CREATE FUNCTION payledger.zz() RETURNS int LANGUAGE sql AS 'SELECT 1'}, 'function payledger\.zz\(\)');
finds('keys_are_whole', q{DROP INDEX payledger.journal_entries_reference}, 'index journal_entries_reference of table payledger\.journal_entries is missing or not valid');
finds('keys_are_whole', q{ALTER TABLE payledger.idempotency_keys DROP CONSTRAINT idempotency_keys_pkey CASCADE}, 'table payledger\.idempotency_keys has no primary key');
finds('keys_are_whole', q{UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'payledger.payouts_scheduled'::regclass}, 'index payouts_scheduled of table payledger\.payouts is missing or not valid');
finds('tables_are_kept', q{ALTER TABLE payledger.sellers SET UNLOGGED}, 'table payledger\.sellers is unlogged, so a crash empties it');
finds('tables_are_kept', q{ALTER EXTENSION payledger ADD TABLE payledger.sellers}, 'table payledger\.sellers is a member of extension payledger, so pg_dump leaves its rows out');
finds('nothing_foreign_is_attached', q{CREATE TRIGGER zz BEFORE UPDATE ON payledger.sellers FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()},
	'trigger zz of table sellers is none of payledger');
finds('grants_attach_nothing', q{GRANT TRIGGER ON payledger.sellers TO PUBLIC}, 'role PUBLIC has TRIGGER on sellers');

# ---- texts ----

finds('texts_are_valid', q{CREATE CAST (bytea AS text) WITHOUT FUNCTION; UPDATE payledger.payment_intents SET order_id = '\x61c3'::bytea::text WHERE order_id = 'MANUAL'}, 'payment_intents.order_id has 1 texts that are not valid');
finds('texts_are_valid', q{CREATE CAST (bytea AS text) WITHOUT FUNCTION; UPDATE payledger.state_history SET cause = '\xff'::bytea::text}, 'state_history.cause has \d+ texts that are not valid');

# ---- no worker runs here ----

my $unanswered = create_intent($node, [100]);
my ($code, $out, $err) = $node->psql('payledger', "SET payledger.authorize_timeout = '10ms'; CALL payledger.authorize($unanswered, 'pm_ok')");
like($err, qr/No gateway worker runs in this database now: payledger\.databases must list it, and payledger\.stat_worker says/, 'a caller who gets no answer is told where to look');

is(join(' ', grep { !$seen{$_} && $room_of->{$_} ne 'ledger_checks' } sort keys %$room_of), '', 'every check was tried');

$node->stop;
done_testing();

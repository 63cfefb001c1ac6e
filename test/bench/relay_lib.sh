# test/bench/relay_lib.sh: sourced by the benches of the relay, after lib.sh.

here=$tests/bench
engine=$dir/engine
topics="payment ledger payout"
foreign_pids=()

# ---- servers ----

# Sets $brokers.  The relay has no brokers until publish() names them.
start_relay_bench() {
	trap stop_relay_bench EXIT
	as_user "$tests/debezium/engine" install
	start_broker
	start_cluster "shared_buffers = '256MB'" "wal_level = 'logical'" "listen_addresses = '127.0.0.1'" "$@"
	wait_for_workers
	register_sellers
	sql "CREATE PUBLICATION payledger_events FOR TABLE payledger.outbox_events WITH (publish = 'insert', publish_via_partition_root = true);
	     CREATE TABLE public.bench_cursor AS SELECT * FROM payledger.relay_cursors"
}

stop_relay_bench() {
	close_transactions
	[ ! -f "$engine/pid" ] || as_user "$tests/debezium/engine" stop "$engine" || true
	stop_all
}

# bench_topics PREFIX: that keep the time of the append, and one for the cursor
bench_topics() {
	make_topics "$1" message.timestamp.type=LogAppendTime
	as_user "$tests/kafka/broker" topic "$broker" "$1.cursor" 1 cleanup.policy=compact >/dev/null
}

topics_of() { printf "$1.%s," $topics | sed 's/,$//'; }

# As after setup(): nothing is published, and nobody's records are the cursor's.
reset_cursor() {
	sql "UPDATE payledger.relay_cursors
	        SET (snapshot_xmax, window_start, snapshot_xip, snapshot_xip_start, next_xmax, next_window_start, next_xip, next_xip_start,
	             published_seq, published, last_event_id, delivery, cursor_id, epoch, batch, record_key, record_offset, record_hash)
	          = (SELECT snapshot_xmax, window_start, snapshot_xip, snapshot_xip_start, next_xmax, next_window_start, next_xip, next_xip_start,
	             published_seq, published, last_event_id, delivery, gen_random_uuid(), epoch, batch, record_key, record_offset, record_hash
	             FROM public.bench_cursor)"
}

# publish MODE PREFIX: the relay goes on from its cursor
publish() {
	sql "ALTER SYSTEM SET payledger.delivery = '$1'"
	sql "ALTER SYSTEM SET payledger.topic_prefix = '$2'"
	sql "ALTER SYSTEM SET payledger.kafka_brokers = '$brokers'"
	sql 'SELECT pg_reload_conf()' >/dev/null
}

stop_publishing() {
	local end=$((SECONDS + 60))
	sql "ALTER SYSTEM SET payledger.kafka_brokers = ''"
	sql 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(sql "SELECT state LIKE 'no brokers%' FROM payledger.stat_worker WHERE role = 'relay'")" = t ]; do
		[ $SECONDS -lt $end ] || die "the relay does not stop"
		sleep 0.1
	done
}

# ---- other people's transactions ----

# open_transaction DATABASE: a session that has taken an id and stays idle in its transaction
open_transaction() {
	local pipe
	pipe=$(mktemp -u)
	mkfifo "$pipe"
	"$PG_BIN/psql" -XAtq -h "$cluster" -p "$(cat "$cluster/port")" -U postgres -d "$1" <"$pipe" >/dev/null &
	foreign_pids+=($!)
	exec {foreign}>"$pipe"
	echo "BEGIN; SELECT pg_current_xact_id();" >&"$foreign"
	rm "$pipe"
}

open_transactions() {
	open_transaction postgres
	open_transaction payledger
	until [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL")" = 2 ]; do
		sleep 0.1
	done
}

close_transactions() {
	[ ${#foreign_pids[@]} = 0 ] || kill "${foreign_pids[@]}" 2>/dev/null || true
	foreign_pids=()
}

# ---- Debezium ----

# create_slot NAME: what is committed from now on is Debezium's to publish
create_slot() { sql "SELECT pg_create_logical_replication_slot('$1', 'pgoutput')" >/dev/null; }

drop_slot() { sql "SELECT pg_drop_replication_slot('$1')" >/dev/null; }

# start_debezium SLOT PREFIX SETTING...: docs/debezium.md's connector; SETTINGs
# with the prefix "producer:" are the producer's
start_debezium() {
	local slot=$1 prefix=$2 setting producer=(compression.type=lz4)
	shift 2
	{
		sed -n '/^```properties$/,/^```$/p' "$tests/../docs/debezium.md" | grep -v '^```'
		echo "database.port=$(cat "$cluster/port")"
		echo "database.user=postgres"
		echo "slot.name=$slot"
		echo "snapshot.mode=no_data"
		echo 'transforms.outbox.route.topic.replacement='"$prefix"'.${routedByValue}'
		echo "offset.storage=org.apache.kafka.connect.storage.MemoryOffsetBackingStore"
		for setting in "$@"; do
			[[ $setting == producer:* ]] && producer+=("${setting#producer:}") || echo "$setting"
		done
	} | as_user sh -c "cat >'$dir/connector.properties'"
	as_user env PAYLEDGER_ENGINE_HEAP=1g "$tests/debezium/engine" start "$engine" "$dir/connector.properties" "$brokers" "${producer[@]}"
}

stop_debezium() { as_user "$tests/debezium/engine" stop "$engine"; }

debezium_streams() {
	local end=$((SECONDS + 60))
	until grep -q 'Processing messages' "$engine/engine.log"; do
		[ $SECONDS -lt $end ] || die "Debezium does not start, see $engine/engine.log"
		sleep 0.2
	done
}

# ---- the clock ----

# span PREFIX MESSAGES: waits for so many messages; sets $ms from the first append to the last
span() {
	as_user "$tests/kafka/consume" --brokers "$brokers" --topics "$(topics_of "$1")" --from-beginning --until "$2" --timeout 1200 \
		--format span >"$dir/span.json" 2>"$dir/consume.log" || die "$1 has other messages than $2"
	[ "$(json messages <"$dir/span.json")" = "$2" ] || die "$1 has other messages than $2"
	ms=$(json ms <"$dir/span.json")
}

# messages_on PREFIX: as the ends of its partitions say
messages_on() {
	local topic partition queries=()
	for topic in $topics; do
		for partition in {0..11}; do
			queries+=(-t "$1.$topic:$partition:-1")
		done
	done
	kcat -b "$brokers" -Q "${queries[@]}" | awk '{ n += $NF } END { print n }'
}

# ---- events ----

# make_templates: the events of 400 real payments, and public.bench_fill() to copy them
make_templates() {
	sql "SELECT payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true)" >/dev/null
	run_pgbench -c 4 -j 2 -t 100 -D i=0 -D run=1 -D method=pm_ok -f "$here/flow.pgbench" >"$dir/pgbench.log"
	tps "$dir/pgbench.log" >/dev/null
	sql "CALL payledger.wait_until_idle('60 s')"
	"$tests/cluster" psql "$cluster" -q -f "$here/relay_fill.sql"
}

count_events() { sql 'SELECT count(*) FROM payledger.outbox_events'; }

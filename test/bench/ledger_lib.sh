# test/bench/ledger_lib.sh: sourced by the ledger's benches after lib.sh, and
# by run after ../lib.sh.

# Dies unless PGLEDGER_DIR has pgledger's SQL.
require_pgledger() {
	[ -f "${PGLEDGER_DIR:-}/pgledger.sql" ] || die "the ledger's bench needs the SQL of pgledger, which is not part of payledger:
  git clone https://github.com/pgr0ss/pgledger /var/tmp/pgledger
  PGLEDGER_DIR=/var/tmp/pgledger make bench"
}

# psql_in DATABASE ARGS...
psql_in() {
	local database=$1
	shift
	"$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -h "$cluster" -p "$(cat "$cluster/port")" -U postgres -d "$database" "$@"
}

sql_in() { psql_in "$1" -At -c "$2"; }

# Run pgbench in DATABASE; its report goes to stdout.
pgbench_in() {
	local database=$1
	shift
	"$PG_BIN/pgbench" -n -h "$cluster" -p "$(cat "$cluster/port")" -U postgres "$@" "$database"
}

transactions() { sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$1"; }

wal_position() { sql 'SELECT pg_current_wal_lsn()'; }

# wal_of FROM TO FILE: "bytes, of which full-page images"; the share of each kind of record goes to FILE
wal_of() {
	as_user "$PG_BIN/pg_waldump" --stats=record -p "$cluster/data/pg_wal" -s "$1" -e "$2" >"$3"
	echo "$(sql "SELECT pg_wal_lsn_diff('$2', '$1')") $(awk '$1 == "Total" { print $5 }' "$3")"
}

# Seconds of CPU of the sessions that have ended, which the postmaster counts
session_cpu() { cpu_time "$(head -1 "$cluster/data/postmaster.pid")" 14 sessions | cut -d' ' -f1; }

# Seconds of CPU of payledger's workers, whose ids are in $workers
workers_cpu() {
	local pid
	for pid in $workers; do cpu_time "$pid" 12 worker; done | awk '{ t += $1 } END { print t + 0 }'
}

# A session that pgbench has left is counted once it has ended.
wait_for_sessions() {
	local end=$((SECONDS + 30))
	until [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")" = 1 ]; do
		[ $SECONDS -lt $end ] || die "sessions do not end"
		sleep 0.05
	done
}

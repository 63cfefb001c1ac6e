# test/bench/lib.sh: sourced by the benches.  Each runs with a folder of its
# own, $dir, for its servers and its results.

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:?usage: $0 DIR}
cluster=$dir/cluster
broker=$dir/kafka
psp_key=sk_test_bench

# Everything else is PostgreSQL's default: fsync and synchronous_commit are on.
base_settings=("max_wal_size = '4GB'" "max_connections = 150")

trap stop_all EXIT

sql() { "$tests/cluster" psql "$cluster" -Atqc "$1"; }

# Run pgbench with prepared statements; its report goes to stdout.
run_pgbench() {
	"$PG_BIN/pgbench" -n -M prepared -h "$cluster" -p "$(cat "$cluster/port")" -U postgres "$@" payledger
}

# tps REPORT: transactions per second without the time to connect; dies if
# some of them failed.
tps() {
	grep -q '^number of failed transactions: 0 ' "$1" || { cat "$1" >&2; die "transactions failed"; }
	sed -n 's/^tps = \([0-9.]*\) .*/\1/p' "$1"
}

median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# calc EXPRESSION FORMAT
calc() { awk "BEGIN { printf \"$2\", ($1) }"; }

# json FIELD...: a field of the object on stdin
json() { python3 -c 'import functools, json, sys; print(functools.reduce(lambda o, k: o[k], sys.argv[1:], json.load(sys.stdin)))' "$@"; }

now() { date +%s.%N; }

# ---- servers ----

stop_all() {
	[ ! -f "$cluster/data/postmaster.pid" ] || "$tests/cluster" stop "$cluster" || true
	[ ! -f "$broker/pid" ] || as_user "$tests/kafka/broker" stop "$broker" || true
	[ -z "${psp_pid:-}" ] || kill "$psp_pid" 2>/dev/null || true
}

# start_cluster SETTING...: with the extension and its data tables
start_cluster() {
	"$tests/cluster" start "$cluster" "${base_settings[@]}" "$@"
	sql 'CREATE EXTENSION payledger'
	sql 'SELECT payledger.setup()' >/dev/null
}

# They were started before their database was made.
wait_for_workers() {
	local end=$((SECONDS + 30))
	until [ "$(sql 'SELECT count(pid) FROM payledger.stat_worker')" = 3 ]; do
		[ $SECONDS -lt $end ] || die "the workers do not start, see $cluster/log"
		sleep 0.1
	done
}

# 1000 sellers who pay 10 % commission
register_sellers() {
	sql "SELECT count(*) FROM generate_series(1, 1000) i,
	     LATERAL payledger.register_seller('SELLER-' || i, 'EUR', commission_bps => 1000)" >/dev/null
}

# Sets $brokers.
start_broker() {
	make_user_dir "$broker"
	as_user env PAYLEDGER_BROKER_PROFILE=bench "$tests/kafka/broker" start "$broker" >/dev/null
	brokers=$(cat "$broker/bootstrap")
}

# make_topics PREFIX SETTING...
make_topics() {
	local topic prefix=$1
	shift
	for topic in payment ledger payout; do
		as_user "$tests/kafka/broker" topic "$broker" "$prefix.$topic" 12 "$@" >/dev/null
	done
}

# Sets $psp_pid, $psp_url and $secrets.
start_psp() {
	local end=$((SECONDS + 10))
	as_user sh -c "echo \$\$ >'$dir/psp.pid'; exec '$tests/psp/psp-server' --port-file '$dir/psp.port' --api-key $psp_key" \
		>"$dir/psp.log" 2>&1 &
	until [ -s "$dir/psp.port" ]; do
		[ $SECONDS -lt $end ] || die "the PSP server did not start, see $dir/psp.log"
		sleep 0.05
	done
	psp_pid=$(cat "$dir/psp.pid")
	psp_url=http://127.0.0.1:$(cat "$dir/psp.port")
	secrets=$dir/secrets
	printf '[payledger/stripe]\nhost = %s\napi_key = %s\n' "${psp_url#http://}" "$psp_key" | as_user sh -c "umask 077 && cat > '$secrets'"
}

# ---- processes ----

worker_pid() { sql "SELECT pid FROM payledger.stat_worker WHERE role = '$1'"; }

# Seconds of CPU time, by process: a line "seconds name" each.  Sessions (and
# autovacuum) are those that have ended, as their parent counts them.
cpu_times() {
	local postmaster role pid

	postmaster=$(head -1 "$cluster/data/postmaster.pid")
	for role in gateway relay keeper; do
		cpu_time "$(worker_pid "$role")" 12 "$role worker"
	done
	cpu_time "$postmaster" 14 "sessions"
	for pid in $(pgrep -P "$postmaster" -f 'postgres: (walwriter|checkpointer|background writer)'); do
		cpu_time "$pid" 12 "WAL writer, checkpointer, background writer"
	done
	[ ! -f "$broker/pid" ] || cpu_time "$(cat "$broker/pid")" 12 "Kafka broker"
	[ -z "${psp_pid:-}" ] || cpu_time "$psp_pid" 12 "PSP server"
	cpu_time $$ 14 "pgbench"
	awk '/^cpu /{ print ($2 + $3 + $4 + $7 + $8) / 100, "machine" }' /proc/stat
}

# cpu_time PID FIELD NAME: of /proc/PID/stat after the command's name, that field and the next
cpu_time() {
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk -v f="$2" -v name="$3" '{ print ($f + $(f + 1)) / 100, name }' || true
}

# cpu_shares BEFORE AFTER SECONDS: per cent of one core, by name; the last line
# is what the machine did beside
cpu_shares() {
	awk -v s="$3" '{ t = $1; $1 = ""; name = substr($0, 2) }
		FNR == NR { before[name] += t; next }
		{ after[name] += t }
		END {
			for (name in after)
				if (name != "machine")
				{
					share = (after[name] - before[name]) * 100 / s
					total += share
					printf "%.1f %s\n", share, name | "sort -rn"
				}
			close("sort -rn")
			printf "%.1f everything else on the machine\n", (after["machine"] - before["machine"]) * 100 / s - total
		}' "$1" "$2"
}

# ---- the document ----

# The line under each table: when, what, where.
provenance() {
	echo "Run $(date -u +%Y-%m-%dT%H:%MZ), commit ${BENCH_COMMIT:-unknown}, by \`make bench\` (\`test/bench/run $1\`), on $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)."
}

-- Load and reconcile the report of :gateway in this session; one line of
-- results: title, lines, exceptions, seconds, CPU, memory, WAL.
CREATE FUNCTION pg_temp.status(field text) RETURNS bigint LANGUAGE sql AS
$$ SELECT substring(pg_read_file('/proc/' || pg_backend_pid() || '/status') FROM field || ':\s+(\d+) kB')::bigint $$;
-- user and system time in hundredths of a second
CREATE FUNCTION pg_temp.cpu() RETURNS bigint LANGUAGE sql AS $$
	SELECT f[12]::bigint + f[13]::bigint
	  FROM string_to_array(regexp_replace(pg_read_file('/proc/' || pg_backend_pid() || '/stat'), '^.*\) ', ''), ' ') AS f $$;
SELECT pg_temp.cpu() AS cpu, pg_current_wal_lsn() AS lsn, clock_timestamp() AS begun \gset
SELECT format('COPY payledger.settlement_lines FROM %L CSV', :'file') \gexec
SELECT clock_timestamp() AS copied \gset
SELECT lines, exceptions FROM payledger.reconcile_settlement('R-' || :'gateway', settled_through => now()) \gset
SELECT clock_timestamp() AS done \gset
-- what it touched of the shared buffers is the server's, not the session's
SELECT concat_ws('|', :'title', :'lines', :'exceptions',
	round(extract(epoch FROM :'copied'::timestamptz - :'begun'), 2), round(extract(epoch FROM :'done'::timestamptz - :'copied'), 2),
	round(extract(epoch FROM :'done'::timestamptz - :'begun'), 2), round((pg_temp.cpu() - :cpu) / 100.0, 2),
	(pg_temp.status('VmHWM') - pg_temp.status('RssShmem')) / 1024, pg_temp.status('VmHWM') / 1024,
	round(pg_wal_lsn_diff(pg_current_wal_lsn(), :'lsn') / 1048576));

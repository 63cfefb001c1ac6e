/* src/psp/views.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE VIEW payledger.stat_gateway AS
	WITH waiting AS (
		/* two branches, for the two partial indexes */
		SELECT gateway, status, next_attempt_at, attempt, updated_at, reply_status, reply_code, reply_message
		  FROM payledger.psp_requests WHERE status IN ('READY', 'UNKNOWN')
		UNION ALL
		SELECT gateway, status, next_attempt_at, attempt, updated_at, reply_status, reply_code, reply_message
		  FROM payledger.psp_requests WHERE status IN ('IN_FLIGHT', 'PENDING', 'PARKED')
	), counts AS (
		SELECT gateway,
			   count(*) FILTER (WHERE status = 'READY') AS ready,
			   count(*) FILTER (WHERE status IN ('READY', 'UNKNOWN') AND next_attempt_at <= (SELECT payledger.trusted_now())) AS due,
			   count(*) FILTER (WHERE status = 'IN_FLIGHT') AS in_flight,
			   count(*) FILTER (WHERE status = 'UNKNOWN') AS unknown,
			   count(*) FILTER (WHERE status = 'PENDING') AS pending,
			   count(*) FILTER (WHERE status = 'PARKED') AS parked,
			   min(next_attempt_at) FILTER (WHERE status IN ('READY', 'UNKNOWN')) AS oldest_due_at
		  FROM waiting GROUP BY gateway
	), failing AS (
		SELECT DISTINCT ON (gateway) gateway, reply_status, reply_code, reply_message, updated_at, attempt
		  FROM waiting WHERE reply_code IS NOT NULL
		 ORDER BY gateway, updated_at DESC
	)
	SELECT coalesce(g.gateway, c.gateway) AS gateway,
		   g.adapter,
		   coalesce(g.is_default, false) AS is_default,
		   coalesce(c.ready, 0) AS ready,
		   coalesce(c.due, 0) AS due,
		   coalesce(c.in_flight, 0) AS in_flight,
		   coalesce(c.unknown, 0) AS unknown,
		   coalesce(c.pending, 0) AS pending,
		   coalesce(c.parked, 0) AS parked,
		   c.oldest_due_at,
		   f.reply_status AS last_fault_http_status,
		   f.reply_code AS last_fault_code,
		   f.reply_message AS last_fault_message,
		   f.attempt AS last_fault_attempt,
		   f.updated_at AS last_fault_at,
		   s.circuit,
		   s.circuit_since,
		   s.next_probe_at,
		   CASE WHEN s.throttled_until > (SELECT payledger.trusted_now()) THEN s.throttled_until END AS throttled_until,
		   s.replies,
		   s.faults,
		   s.problem
	  FROM payledger.gateways g
	  FULL JOIN counts c ON c.gateway = g.gateway
	  LEFT JOIN failing f ON f.gateway = coalesce(g.gateway, c.gateway)
	  LEFT JOIN payledger.gateway_statistics() s ON s.gateway = coalesce(g.gateway, c.gateway)
	 ORDER BY 1;
COMMENT ON VIEW payledger.stat_gateway IS
'What waits at each gateway and why: requests ready, due now, in flight, of unknown outcome, accepted and pending at the PSP, and parked for an operator (payledger.resolve_request), when the oldest is due, and the last fault of those that are waiting. adapter is null for requests to a gateway that is gone. circuit is CLOSED, OPEN while the PSP does not answer and nothing is sent until next_probe_at, or HALF_OPEN while one request finds out whether it answers again; throttled_until is how long the PSP wants no more requests of some kind; replies and faults (no reply, or status 5xx) count since the gateway worker started; problem is why the gateway is not asked at all: no key in its section of the secrets file, a base_url that is none of its hosts, an option that makes no sense; or, while requests go on, why the last reload of the secrets file changed nothing. These are null where no gateway worker runs. payledger.stat_worker tells if the gateway worker itself is in trouble.';

CREATE OR REPLACE VIEW payledger.undecided_requests AS
	SELECT r.psp_request_id,
		   r.gateway,
		   r.payment_id,
		   r.operation,
		   r.target,
		   r.amount,
		   r.currency,
		   r.status,
		   r.attempt AS attempts,
		   r.created_at,
		   r.first_sent_at,
		   r.first_sent_at + coalesce(pg_catalog.make_interval(secs => (g.options->>'key_window_seconds')::int), a.key_window)
			   AS key_kept_until,
		   CASE WHEN r.status = 'UNKNOWN' THEN r.next_attempt_at END AS next_attempt_at,
		   a.can_be_asked,
		   r.idempotency_key,
		   r.psp_reference,
		   r.reply_status AS last_http_status,
		   r.reply_code AS last_code,
		   r.reply_message AS last_message,
		   r.updated_at AS last_at,
		   pg_catalog.split_part(pg_catalog.encode(pg_catalog.substring(r.request_bytes, 1, 300), 'escape'), E'\n', 1) AS sent,
		   (SELECT pg_catalog.count(*) FROM payledger.psp_requests q
			 WHERE q.payment_id = r.payment_id AND q.follows = r.psp_request_id) AS questions,
		   r.worker_deaths
	  FROM payledger.psp_requests r
	  LEFT JOIN payledger.gateways g ON g.gateway = r.gateway
	  LEFT JOIN payledger.psp_adapters() a ON a.adapter = g.adapter
	 WHERE r.status IN ('PENDING', 'UNKNOWN', 'PARKED')
	 ORDER BY r.psp_request_id;
COMMENT ON VIEW payledger.undecided_requests IS
'Requests to gateways whose outcome is not known, with everything that is known: accepted by the PSP and decided later (PENDING), sent without an answer that says what became of it (UNKNOWN), set aside for an operator (PARKED). key_kept_until: until then it is sent again with the same idempotency key, which executes nothing twice; afterwards the PSP is only asked, where it can be asked. sent is the method and path of the request, questions how many followed it, worker_deaths how many gateway workers died with it in hand (last_code is worker_died once it is set aside for that). A webhook may still decide any of them; an operator does with payledger.resolve_request, or has it sent again with payledger.retry_request.';

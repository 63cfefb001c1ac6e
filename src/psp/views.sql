/* src/psp/views.sql: run by payledger.setup() when it finds others */

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

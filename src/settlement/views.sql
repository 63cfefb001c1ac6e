/* src/settlement/views.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE VIEW payledger.reconciliation_exceptions AS
	SELECT e.settlement_exception_id, r.gateway, r.report_id, e.line_no, e.category::text AS category,
		   e.line_type::text AS line_type, p.order_id, e.payment_id, s.sellers, l.psp_reference, l.reference,
		   payledger.format_amount(e.expected_amount, e.expected_currency) || ' ' || e.expected_currency AS expected,
		   payledger.format_amount(e.actual_amount, e.actual_currency) || ' ' || e.actual_currency AS actual,
		   payledger.format_amount(l.net, l.currency) || ' ' || l.currency AS line_net,
		   e.status::text AS status, e.note, e.created_at, e.resolved_at, e.resolved_by
	  FROM payledger.settlement_exceptions e
	  JOIN payledger.settlement_reports r ON r.settlement_report_id = e.settlement_report_id
	  LEFT JOIN payledger.settlement_lines l
		ON l.gateway = r.gateway AND l.report_id = r.report_id AND l.line_no = e.line_no
	  LEFT JOIN payledger.payments p ON p.payment_id = e.payment_id
	  LEFT JOIN LATERAL (
			SELECT string_agg(DISTINCT i.seller_id, ', ' ORDER BY i.seller_id) AS sellers
			  FROM payledger.settlement_items i
			 WHERE i.payment_id = e.payment_id AND (i.object_id = e.object_id OR e.object_id IS NULL)) s ON true;
COMMENT ON VIEW payledger.reconciliation_exceptions IS
'What reconciliations could not match, with what is expected and what the PSP says (the gross; FEE_DIFFERENCE the fee, expected null where none was agreed and the PSP''s cannot be right; CASH_DIFFERENCE the sum of the lines and the payout), amounts with the decimal point of their currency. Close them with payledger.resolve_exception().';

CREATE OR REPLACE VIEW payledger.settlement_outcomes AS
	SELECT l.gateway, l.report_id, l.line_no, l.line_type::text AS line_type, l.psp_reference, l.reference, l.currency,
		   l.gross, l.fee, l.net,
		   CASE WHEN r.status = 'IMPORTED' THEN 'IMPORTED'
				WHEN e.category IS NOT NULL THEN e.category::text
				ELSE 'MATCHED' END AS outcome,
		   e.settlement_exception_id, e.status::text AS exception_status
	  FROM payledger.settlement_lines l
	  JOIN payledger.settlement_reports r ON r.gateway = l.gateway AND r.report_id = l.report_id
	  LEFT JOIN payledger.settlement_exceptions e
		ON e.settlement_report_id = r.settlement_report_id AND e.line_no = l.line_no;
COMMENT ON VIEW payledger.settlement_outcomes IS
'What became of each line of each settlement report: IMPORTED (not reconciled yet), MATCHED or the category of its exception; amounts in minor units.';

/* src/settlement/tables.sql: created once by payledger.setup() */

CREATE TYPE payledger.settlement_line_type AS ENUM
	('capture', 'capture_reversal', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal',
	 'chargeback_fee', 'chargeback_fee_reversal', 'fee', 'payout');
CREATE TYPE payledger.settlement_report_status AS ENUM ('IMPORTED', 'RECONCILED');
CREATE TYPE payledger.settlement_exception_category AS ENUM
	('MISSING_AT_PSP', 'MISSING_HERE', 'OVER', 'UNDER', 'DUPLICATE', 'CURRENCY', 'FEE_DIFFERENCE', 'CASH_DIFFERENCE');
CREATE TYPE payledger.settlement_exception_status AS ENUM ('OPEN', 'ACCEPTED', 'DISMISSED');
CREATE TYPE payledger.settlement_line_column AS ENUM
	('line_no', 'line_type', 'psp_reference', 'reference', 'currency', 'gross', 'fee', 'net', 'occurred_at');
CREATE TYPE payledger.settlement_reading AS ENUM ('text', 'whole', 'decimal', 'seconds', 'time');

CREATE TABLE payledger.settlement_reports (
	settlement_report_id bigint PRIMARY KEY,
	gateway			text NOT NULL,
	report_id		text NOT NULL,
	status			payledger.settlement_report_status NOT NULL,
	payout_amount	bigint,
	currency		text,
	settled_through	timestamptz,
	lines			int,
	matched			int,
	exceptions		int,
	totals			jsonb,
	imported_at		timestamptz NOT NULL,
	imported_by		text NOT NULL,
	reconciled_at	timestamptz,
	UNIQUE (gateway, report_id)
);
COMMENT ON TABLE payledger.settlement_reports IS
'Settlement reports of the PSPs: one row for each, written with its first line. payledger.reconcile_settlement() matches its lines and fills the columns from lines on.';
COMMENT ON COLUMN payledger.settlement_reports.report_id IS 'the PSP''s name of it, unique for the gateway';
COMMENT ON COLUMN payledger.settlement_reports.payout_amount IS 'what the PSP says it paid out for it, minor units of currency; null: it does not say, or says so in lines of type payout';
COMMENT ON COLUMN payledger.settlement_reports.settled_through IS 'what happened until then should be in it: what is missing is an exception; null: nothing is looked for';
COMMENT ON COLUMN payledger.settlement_reports.matched IS 'lines that agree with what is on record, fees and payouts among them';
COMMENT ON COLUMN payledger.settlement_reports.exceptions IS 'exceptions that the reconciliation found, whatever became of them';
COMMENT ON COLUMN payledger.settlement_reports.totals IS '{"matched": {currency: {"lines", "gross", "fee", "net"}}, "exceptions": {category: number}}, minor units';

/*
 * The target of COPY: nothing but the primary key, and no trigger for each
 * row.  What became of a line is not written on it: settlement_items name the
 * line that settled them, settlement_exceptions the others.
 */
CREATE TABLE payledger.settlement_lines (
	gateway			text NOT NULL,
	report_id		text NOT NULL,
	line_no			int NOT NULL CHECK (line_no > 0),
	line_type		payledger.settlement_line_type NOT NULL,
	psp_reference	text,
	reference		text,
	currency		text NOT NULL,
	gross			bigint NOT NULL,
	fee				bigint NOT NULL DEFAULT 0,
	net				bigint NOT NULL,
	occurred_at		timestamptz,
	PRIMARY KEY (gateway, report_id, line_no),
	CONSTRAINT settlement_lines_net CHECK (net = gross - fee),
	CONSTRAINT settlement_lines_psp_reference CHECK (psp_reference IS NOT NULL OR line_type IN ('fee', 'payout'))
);
COMMENT ON TABLE payledger.settlement_lines IS
'Append-only: the lines of settlement reports, amounts in minor units of currency. Filled by payledger.import_settlement() or COPY; a report takes lines until it is reconciled. Errors: 22003 an amount above 10^16 minor units, 22023 unknown currency or a time before 2000 or more than a year ahead, 23505 line_no given twice, 23514 net is not gross less fee or the payment is not named, PL003 the report is reconciled, PL007 unknown gateway, PL011 card data.';
COMMENT ON COLUMN payledger.settlement_lines.line_type IS 'fee: of the PSP, for no payment; payout: what it transferred to the bank';
COMMENT ON COLUMN payledger.settlement_lines.psp_reference IS 'the PSP''s id of the payment';
COMMENT ON COLUMN payledger.settlement_lines.reference IS 'our id of the operation, ''pl_'' and the psp_request_id in payledger.psp_requests; others are kept and not matched';
COMMENT ON COLUMN payledger.settlement_lines.gross IS '> 0: what the PSP owes for the operation, < 0: what it takes back';
COMMENT ON COLUMN payledger.settlement_lines.fee IS 'what the PSP keeps for it; < 0: gives back';
COMMENT ON COLUMN payledger.settlement_lines.net IS 'gross - fee: the cash';

CREATE TABLE payledger.settlement_exceptions (
	settlement_exception_id bigint PRIMARY KEY,
	settlement_report_id bigint NOT NULL,
	line_no			int,
	category		payledger.settlement_exception_category NOT NULL,
	line_type		payledger.settlement_line_type,
	payment_id		bigint,
	object_id		bigint,
	occurred_at		timestamptz,
	expected_amount	bigint,
	expected_currency text,
	actual_amount	bigint,
	actual_currency	text,
	status			payledger.settlement_exception_status NOT NULL,
	note			text,
	created_at		timestamptz NOT NULL,
	resolved_at		timestamptz,
	resolved_by		text
);
CREATE INDEX settlement_exceptions_report ON payledger.settlement_exceptions (settlement_report_id, line_no);
CREATE INDEX settlement_exceptions_open ON payledger.settlement_exceptions (payment_id) WHERE status = 'OPEN';
COMMENT ON TABLE payledger.settlement_exceptions IS
'What a reconciliation could not match: a line of a report (MISSING_HERE, OVER, UNDER, DUPLICATE, CURRENCY, FEE_DIFFERENCE), an operation on record without a line (MISSING_AT_PSP), or the report''s cash (CASH_DIFFERENCE). Close them with payledger.resolve_exception(). payledger.reconciliation_exceptions shows them readably.';
COMMENT ON COLUMN payledger.settlement_exceptions.payment_id IS 'the payment that the PSP names, if it is known here';
COMMENT ON COLUMN payledger.settlement_exceptions.object_id IS 'with line_type, payment_id and occurred_at: the operation on record, rows of payledger.settlement_items';
COMMENT ON COLUMN payledger.settlement_exceptions.expected_amount IS 'what is on record here: the gross, FEE_DIFFERENCE the fee (null: none was agreed, and the PSP''s cannot be right), CASH_DIFFERENCE what the lines add up to; minor units of expected_currency';
COMMENT ON COLUMN payledger.settlement_exceptions.actual_amount IS 'what the PSP says: the gross, FEE_DIFFERENCE the fee, CASH_DIFFERENCE the payout; minor units of actual_currency';
COMMENT ON COLUMN payledger.settlement_exceptions.resolved_by IS 'role that resolved it';

/* ---- how the reports of PSPs are read: rows may be added for others ---- */

CREATE TABLE payledger.settlement_formats (
	format			text PRIMARY KEY CHECK (format ~ '^[a-z][a-z0-9_]{0,62}$'),
	reads_all		boolean NOT NULL DEFAULT false,
	description		text NOT NULL
);
COMMENT ON TABLE payledger.settlement_formats IS
'Formats that payledger.import_settlement() reads. Add one with rows here, in payledger.settlement_columns and payledger.settlement_line_types.';
COMMENT ON COLUMN payledger.settlement_formats.reads_all IS 'a member that no row of payledger.settlement_columns reads is an error; otherwise it is passed over';

CREATE TABLE payledger.settlement_columns (
	format			text NOT NULL REFERENCES payledger.settlement_formats,
	line_column		payledger.settlement_line_column NOT NULL,
	choice			int NOT NULL DEFAULT 1,
	part			int NOT NULL DEFAULT 1,
	source			text NOT NULL,
	reading			payledger.settlement_reading NOT NULL,
	is_subtracted	boolean NOT NULL DEFAULT false,
	PRIMARY KEY (format, line_column, choice, part),
	CONSTRAINT settlement_columns_source CHECK (source <> ''),
	CONSTRAINT settlement_columns_reading CHECK (CASE
		WHEN line_column IN ('gross', 'fee', 'net') THEN reading IN ('whole', 'decimal')
		WHEN line_column = 'line_no' THEN reading = 'whole'
		WHEN line_column = 'occurred_at' THEN reading IN ('seconds', 'time')
		ELSE reading = 'text' END)
);
COMMENT ON TABLE payledger.settlement_columns IS
'Where each column of payledger.settlement_lines comes from: the first choice of which a part is present counts. Parts are added up; texts and times are joined by a space. Of gross, fee and net one may be missing: it follows from the others.';
COMMENT ON COLUMN payledger.settlement_columns.source IS 'member of the line; source.payment_intent: a member of an object in it, unless the line has a member of that whole name';
COMMENT ON COLUMN payledger.settlement_columns.reading IS 'whole: an amount in minor units, written without a point, or line_no; decimal: an amount in major units, with at most as many digits after a point as the currency has; seconds: since 1970; time: a timestamp, year first; text: anything else. A comma in a number is refused';

CREATE TABLE payledger.settlement_line_types (
	format			text NOT NULL REFERENCES payledger.settlement_formats,
	source_type		text NOT NULL,
	line_type		payledger.settlement_line_type,
	is_part			boolean NOT NULL DEFAULT false,
	PRIMARY KEY (format, source_type)
);
COMMENT ON TABLE payledger.settlement_line_types IS
'What the types of a PSP''s lines mean. A type that is not here is an error of the import.';
COMMENT ON COLUMN payledger.settlement_line_types.line_type IS 'null: such lines are left out';
COMMENT ON COLUMN payledger.settlement_line_types.is_part IS 'its amounts are added to the line of that line_type for the same payment in the report';

INSERT INTO payledger.settlement_formats VALUES
	('generic', true, 'the columns of payledger.settlement_lines'),
	('stripe', false, 'Stripe''s balance transactions as the API lists them, expand[]=data.source'),
	('stripe_report', false, 'Stripe''s itemized balance and payout reports, a CSV row as an object'),
	('adyen', false, 'Adyen''s settlement details report, a CSV row as an object');

INSERT INTO payledger.settlement_columns (format, line_column, choice, part, source, reading, is_subtracted) VALUES
	('generic', 'line_no', 1, 1, 'line_no', 'whole', false),
	('generic', 'line_type', 1, 1, 'line_type', 'text', false),
	('generic', 'psp_reference', 1, 1, 'psp_reference', 'text', false),
	('generic', 'reference', 1, 1, 'reference', 'text', false),
	('generic', 'currency', 1, 1, 'currency', 'text', false),
	('generic', 'gross', 1, 1, 'gross', 'whole', false),
	('generic', 'fee', 1, 1, 'fee', 'whole', false),
	('generic', 'net', 1, 1, 'net', 'whole', false),
	('generic', 'occurred_at', 1, 1, 'occurred_at', 'time', false),
	/* the category tells adjustments apart */
	('stripe', 'line_type', 1, 1, 'reporting_category', 'text', false),
	('stripe', 'line_type', 2, 1, 'type', 'text', false),
	('stripe', 'psp_reference', 1, 1, 'payment_intent', 'text', false),
	('stripe', 'psp_reference', 2, 1, 'source.payment_intent', 'text', false),
	('stripe', 'currency', 1, 1, 'currency', 'text', false),
	('stripe', 'gross', 1, 1, 'amount', 'whole', false),
	('stripe', 'fee', 1, 1, 'fee', 'whole', false),
	('stripe', 'net', 1, 1, 'net', 'whole', false),
	('stripe', 'occurred_at', 1, 1, 'created', 'seconds', false),
	('stripe_report', 'line_type', 1, 1, 'reporting_category', 'text', false),
	('stripe_report', 'psp_reference', 1, 1, 'payment_intent_id', 'text', false),
	('stripe_report', 'currency', 1, 1, 'currency', 'text', false),
	('stripe_report', 'gross', 1, 1, 'gross', 'decimal', false),
	('stripe_report', 'fee', 1, 1, 'fee', 'decimal', false),
	('stripe_report', 'net', 1, 1, 'net', 'decimal', false),
	('stripe_report', 'occurred_at', 1, 1, 'created_utc', 'time', false),
	('stripe_report', 'occurred_at', 2, 1, 'created', 'time', false),
	/* the gross columns are in the shopper's currency, which a conversion left behind: the net ones are what is paid */
	('adyen', 'line_type', 1, 1, 'Type', 'text', false),
	('adyen', 'psp_reference', 1, 1, 'Psp Reference', 'text', false),
	('adyen', 'reference', 1, 1, 'Modification Merchant Reference', 'text', false),
	('adyen', 'currency', 1, 1, 'Net Currency', 'text', false),
	('adyen', 'fee', 1, 1, 'Commission (NC)', 'decimal', false),
	('adyen', 'fee', 1, 2, 'Markup (NC)', 'decimal', false),
	('adyen', 'fee', 1, 3, 'Scheme Fees (NC)', 'decimal', false),
	('adyen', 'fee', 1, 4, 'Interchange (NC)', 'decimal', false),
	('adyen', 'net', 1, 1, 'Net Credit (NC)', 'decimal', false),
	('adyen', 'net', 1, 2, 'Net Debit (NC)', 'decimal', true),
	('adyen', 'occurred_at', 1, 1, 'Creation Date', 'time', false),
	('adyen', 'occurred_at', 1, 2, 'TimeZone', 'time', false);

INSERT INTO payledger.settlement_line_types (format, source_type, line_type)
	SELECT 'generic', t::text, t FROM pg_catalog.unnest(pg_catalog.enum_range(NULL::payledger.settlement_line_type)) AS t;
INSERT INTO payledger.settlement_line_types (format, source_type, line_type, is_part)
	SELECT f, t, l::payledger.settlement_line_type, p
	  FROM pg_catalog.unnest('{stripe, stripe_report}'::text[]) AS f, (VALUES
		('charge', 'capture', false), ('payment', 'capture', false),
		/* a charge captured in part is one line of the whole and one that takes the rest back */
		('partial_capture_reversal', 'capture', true),
		('charge_failure', 'capture_reversal', false), ('payment_failure_refund', 'capture_reversal', false),
		('refund', 'refund', false), ('payment_refund', 'refund', false),
		('refund_failure', 'refund_reversal', false),
		('dispute', 'chargeback', false), ('dispute_reversal', 'chargeback_reversal', false),
		('fee', 'fee', false), ('network_cost', 'fee', false), ('tax', 'fee', false), ('stripe_fee', 'fee', false),
		('stripe_fx_fee', 'fee', false), ('tax_fee', 'fee', false),
		('payout', 'payout', false), ('payout_reversal', 'payout', false), ('payout_cancel', 'payout', false),
		('payout_failure', 'payout', false)) AS v(t, l, p);
INSERT INTO payledger.settlement_line_types (format, source_type, line_type) VALUES
	('adyen', 'Settled', 'capture'), ('adyen', 'SettledReversed', 'capture_reversal'),
	('adyen', 'Refunded', 'refund'), ('adyen', 'RefundedReversed', 'refund_reversal'),
	('adyen', 'Chargeback', 'chargeback'), ('adyen', 'SecondChargeback', 'chargeback'),
	('adyen', 'ChargebackReversed', 'chargeback_reversal'),
	('adyen', 'Fee', 'fee'), ('adyen', 'InvoiceDeduction', 'fee'), ('adyen', 'PaymentCost', 'fee'),
	('adyen', 'MerchantPayout', 'payout');

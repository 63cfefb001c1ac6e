/* src/gateway/tables.sql: created once by payledger.setup() */

CREATE TABLE payledger.gateways (
	gateway		text PRIMARY KEY CHECK (gateway ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$'),
	adapter		text NOT NULL,
	options		jsonb NOT NULL DEFAULT '{}',
	is_default	boolean NOT NULL DEFAULT false,
	multicapture boolean NOT NULL DEFAULT true,
	keeps_remainder boolean NOT NULL DEFAULT true,
	authorization_days int NOT NULL DEFAULT 7,
	pays_out	boolean NOT NULL DEFAULT false,
	fee_bps		int,
	fee_fixed	bigint,
	created_at	timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX gateways_default ON payledger.gateways (is_default) WHERE is_default;
COMMENT ON TABLE payledger.gateways IS
'Accounts at payment service providers. options never hold a secret: those are in the file payledger.gateway_secrets_file names. The columns after is_default say what the gateway can do; a trigger derives them from adapter and options.';
COMMENT ON COLUMN payledger.gateways.multicapture IS 'an authorization may be captured more than once; otherwise the captures of the sellers are planned onto one';
COMMENT ON COLUMN payledger.gateways.keeps_remainder IS 'what a capture leaves of an authorization stays held until it is cancelled; otherwise the PSP frees it by itself';
COMMENT ON COLUMN payledger.gateways.authorization_days IS 'days after which the PSP lets an authorization expire';
COMMENT ON COLUMN payledger.gateways.pays_out IS 'whether payouts to sellers can be made through it';
COMMENT ON COLUMN payledger.gateways.fee_bps IS 'agreed fee of a capture, hundredths of a per cent; null: settlements are not checked for it';
COMMENT ON COLUMN payledger.gateways.fee_fixed IS 'agreed fixed part of the fee of a capture, minor units';

# Every operation at a PSP, and everything that can go wrong with its request:
# once, or each time until the PSP has forgotten the idempotency key.  For each
# cell: how the request ends, what becomes of the payment, and what the PSP did.
# It must have done it once or not at all, and know of no other sums than the
# journal.
#
# docs/psp-faults.md holds what was found, and a cell that differs from it
# fails.  GENERATE_DOCS=FILE writes it anew.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use PayledgerPsp;
use PayledgerTest;
use PayledgerTls;
use POSIX qw(strftime);
use PostgreSQL::Test::Utils;
use Test::More;

# A key is used for so long (seconds), and kept by the PSP a little longer.
my $WINDOW = 5;
my $KEPT = 8;
my $TIMEOUT_MS = 700;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $docs = $ENV{GENERATE_DOCS} || abs_path(dirname(__FILE__)) . '/../../docs/psp-faults.md';
my $dir = PostgreSQL::Test::Utils::tempdir('faults');
my $true = JSON::PP::true;

# libcurl itself sends a request again when a kept connection ends before the
# answer's first byte, so a reset has to happen twice to be seen.
my @FAULTS = (
	[ 'timeout before execution', { fault => 'drop_before' } ],
	[ 'timeout after execution', { fault => 'drop_after' } ],
	[ 'reset before execution', { fault => 'reset_before' }, 2 ],
	[ 'reset after execution', { fault => 'reset_after' }, 2 ],
	[ '500, stored, not executed', { fault => 'error_500_stored' } ],
	[ '500, stored, executed', { fault => 'error_500_stored', execute => $true } ],
	[ '503', { fault => 'error_503' } ],
	[ '409, in progress', { fault => 'conflict_409' } ],
	[ '429 with Retry-After', { fault => 'rate_limit_429', retry_after => 1 } ],
	[ 'garbage', { fault => 'garbage' } ],
	[ 'truncated', { fault => 'truncated' } ],
	[ 'body of 100 MB', { fault => 'oversized' } ],
	[ 'slow-loris', { fault => 'slow_loris', ms => 50 } ],
	[ 'expired certificate', undef ],
	[ 'wrong host', undef ]);
my @MODES = ('once', 'until');

my $psp = PayledgerPsp->new('--key-window', $KEPT, '--log', "$dir/log");
my $node = new_node('matrix');

# ---- servers that nobody should talk to ----

my $tls = PayledgerTls->new;
my %bad = (
	'expired certificate' => PayledgerPsp->new_tls($tls->certificate('expired', names => 'IP:127.0.0.1', from_day => -60, to_day => -30)),
	'wrong host' => PayledgerPsp->new_tls($tls->certificate('wrong', names => 'IP:127.0.0.2')));

# ---- the operations of each PSP ----

my $LINES = '[{"seller_id": "SELLER-111", "amount": 1000}]';

sub intent_sql
{
	my ($cell, $lines, $method, $capture_method) = @_;
	my $create = "payledger.create_payment_intent('$cell->{name}', 'BUYER', 'EUR', '$lines', "
	  . "capture_method => '$capture_method', gateway => '$cell->{gateway}')";

	return "SELECT payment_intent_id FROM $create" unless $method;
	return "SELECT i.payment_intent_id FROM $create i, LATERAL (SELECT payledger.request_authorization(i.payment_intent_id, '$method')) a";
}

# What brings a payment to the point before each operation, and what asks for
# it; what of it the PSP has executed, by its truth.
my %STRIPE = (
	AUTHORIZE => {
		before => sub { return intent_sql($_[0], $LINES, undef, 'manual') },
		ask => sub { return "payledger.request_authorization($_[0]{id}, 'pm_card_visa')" },
		done => sub { return grep { $_->{authorized} } $_[0]->payments } },
	CONFIRM => {
		reads => 1,
		before => sub { return intent_sql($_[0], $LINES, 'pm_card_threeDSecureRequired', 'manual') },
		then => sub { $psp->control('POST', "/_test/intents/$_[0]{reference}/complete_action", { outcome => 'succeed' }) },
		ask => sub { return "payledger.request_authorization($_[0]{id}, NULL)" },
		done => sub { return grep { $_->{authorized} } $_[0]->payments } },
	CAPTURE => {
		before => sub { return intent_sql($_[0], $LINES, 'pm_card_visa', 'manual') },
		ask => sub { return "payledger.capture_payment($_[0]{id})" },
		done => sub { return $_[0]->operations('capture') } },
	CANCEL => {
		before => sub { return intent_sql($_[0], $LINES, 'pm_card_visa', 'manual') },
		ask => sub { return "payledger.void_payment($_[0]{id})" },
		done => sub { return $_[0]->operations('cancel') } },
	REFUND => {
		before => sub { return intent_sql($_[0], $LINES, 'pm_card_visa', 'automatic') },
		ask => sub { return "payledger.refund_payment($_[0]{id}, 300)" },
		done => sub { return $_[0]->operations('refund') } },
	RETRIEVE => {
		reads => 1,
		before => sub { return intent_sql($_[0], $LINES, 'pm_card_pendingRefund', 'automatic') },
		also => sub { return "payledger.refund_payment($_[0]{id}, 300)" },
		then => sub { $psp->control('POST', "/_test/refunds/$_[0]{reference}/complete", { outcome => 'succeed' }) },
		# it is there already, due in a minute
		ask => sub { return 'now()' },
		done => sub { return $_[0]->operations('refund') } },
	PAYOUT => {
		before => sub {
			my $seller = "S-$_[0]{name}";
			my $account = $_[0]{name} =~ s/\W//gr;

			return "SELECT payledger.register_seller('$seller', 'EUR');
				SELECT payledger.set_payout_terms('$seller', 'EUR', 'acct_$account', gateway => '$_[0]{gateway}', available_from => 'capture');
				" . intent_sql($_[0], qq([{"seller_id": "$seller", "amount": 1000}]), 'pm_card_visa', 'automatic') },
		ask => sub { return "payledger.request_payout('S-$_[0]{name}', 'EUR', 500)" },
		done => sub { return grep { ($_->{metadata}{payout_id} // '') eq $_[0]{owner} } @{ $_[0]->truth->{transfers} } } });
# Adyen cannot be asked and makes no payouts; what it only accepted is decided
# by its webhooks.
my %ADYEN = (
	AUTHORIZE => {
		before => sub { return intent_sql($_[0], $LINES, undef, 'manual') },
		ask => sub { return "payledger.request_authorization($_[0]{id}, 'authorised')" },
		done => sub { return grep { $_->{authorized} } $_[0]->payments } },
	CONFIRM => {
		before => sub { return intent_sql($_[0], $LINES, 'redirect', 'manual') },
		then => sub {
			$_[0]{result} = $psp->adyen_control(($_[0]->payments)[0]{reference}, 'complete', { outcome => 'succeed' })->{redirectResult} },
		ask => sub { return "payledger.confirm_authorization($_[0]{id}, '{\"redirectResult\": \"$_[0]{result}\"}')" },
		done => sub { return grep { $_->{authorized} } $_[0]->payments } },
	CAPTURE => {
		before => sub { return intent_sql($_[0], $LINES, 'authorised', 'manual') },
		ask => sub { return "payledger.capture_payment($_[0]{id})" },
		done => sub { return $_[0]->operations('capture') } },
	CANCEL => {
		before => sub { return intent_sql($_[0], $LINES, 'authorised', 'manual') },
		ask => sub { return "payledger.void_payment($_[0]{id})" },
		done => sub { return $_[0]->operations('cancel') } },
	REFUND => {
		before => sub { return intent_sql($_[0], $LINES, 'authorised', 'automatic') },
		ask => sub { return "payledger.refund_payment($_[0]{id}, 300)" },
		done => sub { return $_[0]->operations('refund') } });

# name and operations of each PSP, in the order of the table
my @PSPS = (
	[ 'stripe', \%STRIPE, qw(AUTHORIZE CONFIRM CAPTURE CANCEL REFUND RETRIEVE PAYOUT) ],
	[ 'adyen', \%ADYEN, qw(AUTHORIZE CONFIRM CAPTURE CANCEL REFUND) ]);

# ---- cells ----

my $truth;

# The PSP's truth; read again after it was set to undef.
sub Cell::truth
{
	$truth //= { intents => [ $psp->all_truth ], transfers => [ $psp->all_transfers ] };
	return $truth;
}

# The payments at the PSP that are a cell's.
sub Cell::payments
{
	my ($self) = @_;

	return grep { ($_->{metadata}{payment_id} // '') eq $self->{id} } @{ $self->truth->{intents} };
}

# What of a kind was executed on them.
sub Cell::operations
{
	my ($self, $kind) = @_;

	return grep { $_->{operation} eq $kind && $_->{outcome} =~ /^(ok|succeeded|pending)$/ } map { @{ $_->{operations} } } $self->payments;
}

# What is known of all cells' requests now, taken into the cells.
sub look
{
	my (@cells) = @_;
	my %cell = map { $_->{name} => $_ } @cells;
	my $names = join ',', map { "'$_'" } sort keys %cell;

	for my $row (rows($node, <<~"SQL"))
		WITH requests AS (
			SELECT r.*, coalesce(i.order_id, substr(p.seller_id, 3)) AS name
			  FROM payledger.psp_requests r
			  LEFT JOIN payledger.payment_intents i ON i.payment_intent_id = r.payment_id
			  LEFT JOIN payledger.payouts p ON p.payout_id = r.payment_id)
		SELECT r.name, r.psp_request_id::text AS request, r.payment_id::text AS owner, r.operation, r.idempotency_key AS key,
			   r.status, r.attempt, r.reply_code AS code, r.psp_reference AS reference,
			   extract(epoch FROM now() - r.first_sent_at) AS age
		  FROM requests r WHERE r.name IN ($names) ORDER BY r.psp_request_id
		SQL
	{
		my $cell = $cell{ $row->{name} };

		# the last one of its kind, and until it is there, any
		next if defined $cell->{request} && $row->{operation} ne $cell->{operation};
		$cell->{$_} = $row->{$_} for qw(request owner key status attempt code reference age);
		$cell->{found} = $row->{operation} eq $cell->{operation};
	}
	return;
}

sub is_decided
{
	my ($cell) = @_;

	return $cell->{status} =~ /^(SUCCEEDED|REFUSED)$/;
}

# Nothing is sent any more: decided, or for a webhook or an operator.
sub is_over
{
	my ($cell) = @_;

	return is_decided($cell) || $cell->{status} =~ /^(PENDING|PARKED)$/;
}

# The states of what the operation is about.
sub states
{
	my ($cell) = @_;
	my $words = join ' ', 'i.status', 'p.status', 'o.status';

	return sql($node, "SELECT 'payout ' || status FROM payledger.payouts WHERE payout_id = $cell->{owner}")
	  if $cell->{operation} eq 'PAYOUT';
	return sql($node, <<~"SQL");
		SELECT concat_ws(' ', i.status, p.status, o.status, 'refund ' || r.status)
		  FROM payledger.payment_intents i
		  LEFT JOIN payledger.payments p ON p.payment_id = i.payment_intent_id
		  LEFT JOIN payledger.payment_orders o ON o.payment_id = i.payment_intent_id
		  LEFT JOIN payledger.refunds r ON r.payment_id = i.payment_intent_id
		 WHERE i.payment_intent_id = $cell->{id}
		SQL
}

my @cells;
my %gateway;					# of each, its PSP and its fault

for my $psp_row (@PSPS)
{
	my ($adapter, $ways, @operations) = @$psp_row;

	for my $f (0 .. $#FAULTS)
	{
		for my $mode (@MODES)
		{
			my $gateway = "$adapter-$f-$mode";

			$gateway{$gateway} = [ $adapter, @{ $FAULTS[$f] } ];
			push @cells, map {
				bless {
					name => "cell-$adapter-$f-$mode-$_", adapter => $adapter, gateway => $gateway, operation => $_,
					fault => $FAULTS[$f], mode => $mode, way => $ways->{$_}
				}, 'Cell'
			} @operations;
		}
	}
}

# ---- before ----

write_secrets($node, map { $_ => [ api_key => $psp->key, webhook_secret => $psp->webhook_secret($gateway{$_}[0]), ca_file => $tls->{ca_file} ] }
	  keys %gateway);
$node->append_conf('postgresql.conf', "payledger.gateway_secrets_file = '" . $node->basedir . "/secrets'");
$node->reload;
# each fault has gateways of its own: pauses that a PSP asks for are for all
# requests of a kind.  No circuit breaker, for nothing but faults comes, and no
# events, for they would tell what the replies keep back.
sql($node, join '', map {
		my $adapter = $gateway{$_}[0];
		my %own = $adapter eq 'stripe' ? (backfill_seconds => 0)
		  : (merchant_account => 'Shop', return_url => 'https://shop.example/back');

		"SELECT payledger.add_gateway('$_', '$adapter', '" . $json->encode({
				base_url => $psp->base_url($adapter), timeout_ms => $TIMEOUT_MS, connect_timeout_ms => $TIMEOUT_MS, lease_seconds => 6,
				retry_base_ms => 50, retry_max_ms => 400, unknown_max_ms => 400, key_window_seconds => $WINDOW,
				rate_per_second => 0, endpoint_rate_per_second => 0, circuit_failures => 0, %own })
		  . "');" } sort keys %gateway);

sub all_quiet
{
	my ($except) = @_;

	wait_sql($node, <<~"SQL", 'nothing waits');
		SELECT NOT EXISTS (SELECT FROM payledger.psp_requests
							WHERE status IN ('READY', 'IN_FLIGHT', 'UNKNOWN') AND operation <> '$except')
		SQL
	return;
}

# Delivers what Adyen has told since the last time.
my $told = 0;

sub tell_us
{
	my %of = map { $_->{id} => $_ } grep { $_->{adapter} eq 'adyen' } @cells;
	my @webhooks = $psp->webhooks($told, psp => 'adyen');
	my @values;

	for my $webhook (@webhooks)
	{
		my ($headers, $body) = ($json->encode($webhook->{headers}), $webhook->{body});
		my ($id) = ($webhook->{payment} // '') =~ /^pl_(\d+)_/;

		s/'/''/g for $headers, $body;
		push @values, "('$of{$id}{gateway}', '$headers', '$body')" if $id && $of{$id};
		$told = $webhook->{seq};
	}
	return unless @values;
	sql($node, 'SELECT count(*) FROM (VALUES ' . join(',', @values)
		  . ') w(gateway, headers, body), LATERAL payledger.receive_webhook(gateway, headers::jsonb, body)');
	wait_sql($node, q{SELECT NOT EXISTS (SELECT FROM payledger.webhooks WHERE status IN ('RECEIVED', 'PARKED'))}, 'what was told is applied');
	return;
}

my @ids = split /\n/, sql($node, join ';', map { $_->{way}{before}->($_) } @cells) =~ s/^\D.*\n//mgr;
$_->{id} = shift @ids for @cells;
all_quiet('RETRIEVE');
tell_us();
sql($node, join ';', map { 'SELECT ' . $_->{way}{also}->($_) } grep { $_->{way}{also} } @cells);
all_quiet('RETRIEVE');
look(@cells);
$_->{way}{then}->($_) for grep { $_->{way}{then} } @cells;

# ---- faults ----

# meanwhile nothing is sent
signal_worker($node, 'gateway', 'STOP');
sql($node, join ';', 'BEGIN', (map { 'SELECT ' . $_->{way}{ask}->($_) } @cells),
	"UPDATE payledger.psp_requests SET next_attempt_at = now() WHERE operation = 'RETRIEVE'", 'COMMIT');
look(@cells);
is(scalar(grep { $_->{found} } @cells), scalar @cells, 'each of ' . @cells . ' cells has its request');
my $log_start = -s "$dir/log";

for my $cell (@cells)
{
	my (undef, $fault, $times) = @{ $cell->{fault} };

	next unless $fault;
	$psp->fault(%$fault, times => $cell->{mode} eq 'until' ? -1 : $times // 1,
		match => $cell->{way}{reads} ? { method => 'GET', uri => $cell->{reference} } : { idempotency_key => $cell->{key} });
}
for my $gateway (grep { !$gateway{$_}[2] } sort keys %gateway)
{
	sql($node, "SELECT payledger.alter_gateway('$gateway', '"
		  . $json->encode({ base_url => $bad{ $gateway{$gateway}[1] }->base_url($gateway{$gateway}[0]) }) . "')");
}
signal_worker($node, 'gateway', 'CONT');

# The right address again for gateways whose certificates are refused.
sub trust
{
	my ($mode) = @_;

	sql($node, "SELECT payledger.alter_gateway('$_', '" . $json->encode({ base_url => $psp->base_url($gateway{$_}[0]) }) . "')")
	  for grep { !$gateway{$_}[2] && /-$mode$/ } sort keys %gateway;
	return;
}

sub wait_for_cells
{
	my ($what, $condition, @which) = @_;

	wait_for(sub { look(@which); return !grep { !$condition->($_) } @which }, $what, $node);
	return;
}

my @once = grep { $_->{mode} eq 'once' } @cells;
my @until = grep { $_->{mode} eq 'until' } @cells;

wait_for_cells('all certificates were refused once', sub { $_[0]{attempt} > 1 }, grep { !$_->{fault}[1] } @once);
trust('once');
# what was stored under the key without execution is for an operator
wait_for_cells('what happened once is over', sub { is_over($_[0]) || $_[0]{attempt} > 8 && $_[0]{age} > $WINDOW }, @once);
wait_for_cells('the PSP has forgotten the keys', sub { is_over($_[0]) || $_[0]{age} > $KEPT + 1 }, @until);

# ---- afterwards ----

is(join(' ', map { $tls->requests_at($_) } values %bad), '0 0', 'nothing was sent to a server with a bad certificate');
my %attempts = map { $_->{name} => $_->{attempt} } @until;

$psp->clear_faults;
trust('until');
wait_for_cells('what waits was asked for again', sub { is_over($_[0]) || $_[0]{attempt} > $attempts{ $_[0]{name} } + 2 }, @until);

# How the last word on a request came, as the server's log shows it.
sub last_word
{
	my ($cell, @requests) = @_;
	my $names = join '|', map { quotemeta } grep { defined } @$cell{qw(id owner reference)};
	my @about = grep { ($_->{key} // '') eq $cell->{key} || $_->{method} eq 'GET' && $_->{path} =~ /$names/ } @requests;

	return 'an operator' unless is_decided($cell);
	return 'a webhook' if $cell->{told};
	return 'max_attempts' if ($cell->{code} // '') eq 'attempts_exhausted';
	return @about == 1 ? 'the reply' : 'a later attempt';
}

sub requests_since
{
	my ($offset) = @_;
	my @requests = map { decode_json($_) } split /\n/, substr(slurp_file("$dir/log"), $offset);

	for my $request (@requests)
	{
		my %headers = map { lc($_) => $request->{headers}{$_} } keys %{ $request->{headers} };

		$request->{key} = $headers{'idempotency-key'};
	}
	return @requests;
}

my @requests = requests_since($log_start);
look(@cells);
my %decided = map { $_->{name} => is_decided($_) } @cells;

tell_us();
look(@cells);
$_->{told} = is_decided($_) && !$decided{ $_->{name} } for @cells;
$_->{by} = last_word($_, @requests) for @cells;

undef $truth;
$_->{executed} = scalar(() = $_->{way}{done}->($_)) for @cells;

# An operator looks at the PSP and says what is true.
for my $cell (grep { !is_decided($_) } @cells)
{
	my ($outcome, $reference) = $cell->{executed} ? ('SUCCEEDED', ($cell->payments)[0]{id}) : 'REFUSED';

	my $call = "SELECT payledger.resolve_request($cell->{request}, '$outcome', 'seen at the PSP'"
	  . ($reference && $cell->{operation} =~ /^(AUTHORIZE|CONFIRM)$/ ? ", '$reference')" : ')');

	# it may be asked about at this moment
	wait_for(sub { ($node->psql('payledger', $call))[0] == 0 }, "$cell->{name} is resolved", $node);
}
all_quiet('RETRIEVE');
tell_us();
look(@cells);

# ---- what came of it ----

# What we and the PSP say of the sums of a cell's payment, minor units.
sub sums
{
	my ($cell) = @_;
	my ($payment) = $cell->payments;
	my $ours = sql($node, <<~"SQL");
		SELECT coalesce(sum(p.amount) FILTER (WHERE e.entry_type = 'CAPTURE'), 0), coalesce(sum(p.amount) FILTER (WHERE e.entry_type = 'REFUND_DONE'), 0)
		  FROM payledger.journal_entries e JOIN payledger.postings p USING (journal_entry_id) JOIN payledger.accounts a USING (account_id)
		 WHERE e.payment_id = $cell->{id} AND a.account_type = 'PSP_RECEIVABLES'
		SQL

	return ($ours, ($payment->{amount_received} // 0) . '|' . -($payment->{amount_refunded} // 0));
}

undef $truth;
my (%found, @wrong);

for my $cell (@cells)
{
	my $times = ('not at all', 'once')[ $cell->{executed} ] // "$cell->{executed} times";
	my ($ours, $theirs) = sums($cell);

	push @wrong, "$cell->{name}: executed $times" if $cell->{executed} > 1;
	push @wrong, "$cell->{name}: journal $ours, PSP $theirs" if $ours ne $theirs;
	push @wrong, "$cell->{name}: executed $times, and REFUSED" if $cell->{executed} && $cell->{status} eq 'REFUSED';
	push @wrong, "$cell->{name}: not executed, and SUCCEEDED" if !$cell->{executed} && $cell->{status} eq 'SUCCEEDED';
	$found{ $cell->{adapter} }{"$cell->{fault}[0] | $cell->{mode}"}{ $cell->{operation} } =
	  "$cell->{status} by $cell->{by}; " . states($cell) . "; $times";
}
is(join("\n", @wrong), '', 'the PSP did each once or not at all, and knows of the same sums as the journal');
check_ledger($node, 'in the end');

# The table of a PSP, as it stands in the document.
sub table
{
	my ($adapter, $ways, @operations) = @_;
	my $rows = join '', map {
		my $row = $_;
		my $cells = $found{$adapter}{ "$row->[0] | $row->[1]" };

		"| $row->[0] | " . ($row->[1] eq 'once' ? 'once' : 'until the key is forgotten') . ' | ' . join(' | ', map { $cells->{$_} } @operations) . " |\n"
	} map { my $fault = $_->[0]; map { [ $fault, $_ ] } @MODES } @FAULTS;

	return "## \u$adapter\n| fault | how often | " . join(' | ', @operations) . " |\n|---|---|" . '---|' x @operations . "\n$rows";
}

my $tables = join "\n", map { table(@$_) } @PSPS;

if ($ENV{GENERATE_DOCS})
{
	my $today = strftime('%Y-%m-%d', gmtime);
	my $version = sql($node, q{SELECT format('PostgreSQL %s, payledger %s', current_setting('server_version'), extension_version) FROM payledger.version()});

	open(my $file, '>', $docs) or die "could not write $docs: $!\n";
	print $file <<~"MARKDOWN";
		# What happens when a PSP fails

		Every operation at a PSP met every fault, once, or each time until the PSP had forgotten the idempotency key. Found on
		$today by `GENERATE_DOCS=docs/psp-faults.md prove ... test/t/230_fault_matrix.pl` ($version, against the PSP test
		server, with a key window of $WINDOW s in place of 23 hours and 7 days); `make test` repeats it and fails if a cell differs.

		A cell says how the request ended and what decided it; what became of the intent, payment, order, refund or payout; and how
		often the PSP executed it. *The reply*: the first one that came; *a later attempt*: the same bytes and key again, or a status
		query; *a webhook*: Adyen's, which decides what was only accepted, and what no reply reported; *an operator*: nobody knew, so
		the request waited until `resolve_request()` said what was seen at the PSP; *max_attempts*: every attempt was documented as
		not executed. The journal and the PSP agreed on every sum.

		$tables
		MARKDOWN
	close($file);
}
else
{
	my $text = slurp_file($docs);

	is(index($text, $_) >= 0 ? '' : "$_ is not in it", '', 'the document says so: ' . substr($_, 0, 60)) for grep { /^\| / } split /\n/, $tables;
}
done_testing();

# Lists and search.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PspServer;
use Test::More;

my $psp = PspServer->new;
my $path = '/v1/payment_intents';

# The data of a list, as ids.
sub ids
{
	my ($reply) = @_;
	return [ map { $_->{id} } @{ $reply->{json}{data} } ];
}

my $empty = $psp->api('GET', $path);
is_deeply($empty->{json},
	{ object => 'list', data => [], has_more => JSON::PP::false, url => $path },
	'an empty list');

my @made = map {
	$psp->api('POST', $path,
		[
			amount => 2900,
			currency => 'eur',
			customer => $_ % 2 ? 'cus_odd' : 'cus_even',
			confirm => 'true',
			payment_method => 'pm_card_visa',
			'metadata[order]' => "ORDER-$_",
			'metadata[shop]' => "it's",
		])->{json}
} 1 .. 25;
my @newest = reverse map { $_->{id} } @made;

my $page = $psp->api('GET', $path);
is_deeply(ids($page), [ @newest[ 0 .. 9 ] ], 'ten, newest first');
ok($page->{json}{has_more}, 'there are more');
$page = $psp->api('GET', $path, [ limit => 100 ]);
is_deeply(ids($page), \@newest, 'all of them');
ok(!$page->{json}{has_more}, 'there are no more');
is_deeply($page->{json}{data}[0], $made[-1], 'the same objects');

my @seen;
my $after;
do
{
	$page = $psp->api('GET', $path,
		[ limit => 7, $after ? (starting_after => $after) : () ]);
	push @seen, @{ ids($page) };
	$after = $seen[-1];
} while ($page->{json}{has_more});
is_deeply(\@seen, \@newest, 'page by page');

$page = $psp->api('GET', $path, [ limit => 3, ending_before => $newest[10] ]);
is_deeply(ids($page), [ @newest[ 7 .. 9 ] ], 'the page before');
ok($page->{json}{has_more}, 'and more before it');
$page = $psp->api('GET', $path, [ limit => 3, ending_before => $newest[2] ]);
is_deeply(ids($page), [ @newest[ 0 .. 1 ] ], 'the first page');
ok(!$page->{json}{has_more}, 'and none before it');
$page = $psp->api('GET', $path, [ starting_after => $newest[-1] ]);
is_deeply(ids($page), [], 'nothing after the last');

$page = $psp->api('GET', $path, [ limit => 100, customer => 'cus_odd' ]);
is(scalar @{ ids($page) }, 13, 'of one customer');
my $now = $made[-1]{created};
is(scalar @{ ids($psp->api('GET', $path, [ limit => 100, @$_ ])) }, 25,
	"created: @$_")
  for [ 'created[gte]' => $made[0]{created} ], [ 'created[lte]' => $now ],
  [ 'created[gt]' => $made[0]{created} - 1 ], [ 'created[lt]' => $now + 1 ];
is_deeply(ids($psp->api('GET', $path, [@$_])), [], "created: @$_")
  for [ 'created[gt]' => $now ], [ 'created[lt]' => $made[0]{created} ],
  [ created => 1 ];

for my $bad ([ limit => 0 ], [ limit => 101 ], [ limit => 'x' ],
	[ colour => 'red' ], [ 'created[gt]' => 'x' ])
{
	is($psp->api('GET', $path, $bad)->{status}, 400, "refused: @$bad");
}
is($psp->api('GET', $path, [ starting_after => 'pi_none' ])->{status}, 404,
	'an unknown cursor');

# Search by metadata.
my $search = "$path/search";
$page = $psp->api('GET', $search,
	[ query => q(metadata['order']:'ORDER-7') ]);
is($page->{json}{object}, 'search_result', 'a search result');
is_deeply(ids($page), [ $made[6]{id} ], 'found by metadata');
$page = $psp->api('GET', $search,
	[ query => q(metadata["shop"]:"it's" AND metadata["order"]:"ORDER-8") ]);
is_deeply(ids($page), [ $made[7]{id} ], 'found by two keys');
$page = $psp->api('GET', $search, [ query => q(metadata['order']:'none') ]);
is_deeply(ids($page), [], 'nothing found');
is($psp->api('GET', $search, [ query => $_ ])->{status}, 400,
	"cannot be parsed: $_")
  for '', 'x', q(metadata['order']:), q(metadata['order']:'a' OR),
  q(metadata['order']:'a' AND );
is($psp->api('GET', $search)->{status}, 400, 'search for what?');

# Refunds of one payment.
my @refunds = map {
	$psp->api('POST', '/v1/refunds',
		[ payment_intent => $made[0]{id}, amount => 100 ])->{json}
} 1 .. 3;
$psp->api('POST', '/v1/refunds', [ payment_intent => $made[1]{id} ]);
$page = $psp->api('GET', '/v1/refunds', [ payment_intent => $made[0]{id} ]);
is_deeply(ids($page), [ reverse map { $_->{id} } @refunds ],
	'refunds of an intent');
$page = $psp->api('GET', '/v1/refunds', [ charge => $made[1]{latest_charge} ]);
is(scalar @{ ids($page) }, 1, 'refunds of a charge');
is(scalar @{ ids($psp->api('GET', '/v1/refunds')) }, 4, 'all refunds');

is($psp->stop, 0, 'the server ends cleanly');
done_testing();

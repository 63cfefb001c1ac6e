# Certificates for servers of tests, good and bad ones.
package PayledgerTls;

use strict;
use warnings FATAL => 'all';

use POSIX qw(strftime);
use PostgreSQL::Test::Utils;

use constant DAY => 24 * 3600;

sub _write
{
	my ($path, $text) = @_;

	open(my $file, '>', $path) or die "could not write $path: $!\n";
	print $file $text;
	close $file;
	return;
}

# An authority of one's own, in a folder of one's own.
sub new
{
	my ($class) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('tls');

	system_or_bail('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
		'-days', 3650, '-subj', '/CN=authority', '-keyout', "$dir/ca.key", '-out', "$dir/ca.crt");
	_write("$dir/index", '');
	_write("$dir/conf", <<~"CONF");
		[ca]
		default_ca = authority
		[authority]
		database = $dir/index
		new_certs_dir = $dir
		rand_serial = yes
		unique_subject = no
		certificate = $dir/ca.crt
		private_key = $dir/ca.key
		default_md = sha256
		policy = policy
		[policy]
		commonName = supplied
		CONF
	return bless { dir => $dir, ca_file => "$dir/ca.crt" }, $class;
}

# Files of a certificate: itself, its key, and who vouches for it.  names is a
# subjectAltName; from_day and to_day count from today, -1 and 30 by default;
# self_signed: nobody vouches; rsa: the key is not of an elliptic curve.
sub certificate
{
	my ($self, $name, %how) = @_;
	my $file = "$self->{dir}/$name";
	my ($from, $to) = map { strftime('%Y%m%d%H%M%SZ', gmtime(time() + $_ * DAY)) } $how{from_day} // -1, $how{to_day} // 30;

	_write("$file.ext", "subjectAltName=$how{names}\n");
	system_or_bail('openssl', 'req', '-new', '-newkey', $how{rsa} ? 'rsa:2048' : ('ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'), '-nodes',
		'-subj', "/CN=$name", '-keyout', "$file.key", '-out', "$file.csr");
	system_or_bail('openssl', 'ca', '-batch', '-notext', '-config', "$self->{dir}/conf", '-in', "$file.csr", '-out', "$file.crt",
		'-startdate', $from, '-enddate', $to, '-extfile', "$file.ext",
		$how{self_signed} ? ('-selfsign', '-keyfile', "$file.key") : ());
	return ("$file.crt", "$file.key", $self->{ca_file});
}

# Requests that a PSP server got whose certificate nobody has to trust.
sub requests_at
{
	my ($self, $server) = @_;
	my $out = '';

	IPC::Run::run([ 'curl', '-sk', $server->url('/_test/stats') ], '>', \$out) or die "no answer\n";
	return JSON::PP::decode_json($out)->{requests};
}

1;

/*-------------------------------------------------------------------------
 *
 * main.c
 *		Options, start, the event loop and a clean end.
 *
 * One epoll instance waits for libmicrohttpd's own epoll instance, for
 * signals and for clients that give up on a request that is held.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "adyen.h"
#include "stripe.h"

#define MAX_CONNECTIONS 8192
#define MAX_EVENTS 64

typedef struct Options
{
	int			port;
	const char *port_file;
	const char *tls_cert;
	const char *tls_key;
	const char *log;
} Options;

Server		server = {.keep_events = -1};

/* Markers for the two descriptors that are no held request. */
static char daemon_marker;
static char signal_marker;

/* Ends the process with a message. */
static void
die(const char *what, const char *name)
{
	fprintf(stderr, "psp-server: %s \"%s\": %s\n", what, name,
			strerror(errno));
	exit(1);
}

/* Prints how to call the server. */
static void
usage(FILE *out)
{
	fputs("Usage: psp-server [OPTION]...\n"
		  "A test server that behaves like Stripe's PaymentIntents API and,\n"
		  "below /v71, like Adyen's Checkout API.\n\n"
		  "  --port N          listen on 127.0.0.1:N (default 0: choose)\n"
		  "  --port-file FILE  write the port to FILE when listening\n"
		  "  --api-key KEY     refuse requests without this bearer token (Stripe)\n"
		  "                    or X-API-Key (Adyen)\n"
		  "  --key-window N    forget idempotency keys after N seconds\n"
		  "  --keep-events N   keep the newest N webhooks (default: all)\n"
		  "  --stripe-webhook-secret S   sign Stripe's webhooks with S; each one\n"
		  "                    adds a signature, as during rotation\n"
		  "  --adyen-hmac-key HEX        sign Adyen's webhooks with HEX; with\n"
		  "                    several a test chooses one\n"
		  "  --tls-cert FILE   certificate (PEM): serve https\n"
		  "  --tls-key FILE    private key (PEM)\n"
		  "  --log FILE        append one line of JSON per request\n"
		  "  --help            show this\n", out);
}

/* Reads a port number. */
static int
read_port(const char *text)
{
	char	   *end;
	long		port = strtol(text, &end, 10);

	if (end == text || *end != '\0' || port < 0 || port > 65535)
	{
		fprintf(stderr, "psp-server: invalid port \"%s\"\n", text);
		exit(1);
	}
	return (int) port;
}

/* Reads a number that is not negative; scale multiplies fractions away. */
static int64_t
read_number(const char *text, double scale)
{
	char	   *end;
	double		value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0 && value < 1e15))
	{
		fprintf(stderr, "psp-server: invalid number \"%s\"\n", text);
		exit(1);
	}
	return (int64_t) (value * scale);
}

/* Adds a key that Adyen's webhooks are signed with. */
static void
read_adyen_key(const char *text)
{
	if (!add_adyen_key(text))
	{
		fprintf(stderr, "psp-server: invalid key \"%s\"\n", text);
		exit(1);
	}
}

/* Reads the command line. */
static void
read_options(int argc, char **argv, Options *options)
{
	static const struct option known[] = {
		{"port", required_argument, NULL, 'p'},
		{"port-file", required_argument, NULL, 'f'},
		{"api-key", required_argument, NULL, 'a'},
		{"tls-cert", required_argument, NULL, 'c'},
		{"tls-key", required_argument, NULL, 'k'},
		{"log", required_argument, NULL, 'l'},
		{"key-window", required_argument, NULL, 'w'},
		{"keep-events", required_argument, NULL, 'e'},
		{"stripe-webhook-secret", required_argument, NULL, 's'},
		{"adyen-hmac-key", required_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (option)
		{
			case 'p':
				options->port = read_port(optarg);
				break;
			case 'f':
				options->port_file = optarg;
				break;
			case 'a':
				server.api_key = optarg;
				break;
			case 'c':
				options->tls_cert = optarg;
				break;
			case 'k':
				options->tls_key = optarg;
				break;
			case 'l':
				options->log = optarg;
				break;
			case 'w':
				server.key_window = read_number(optarg, 1000);
				break;
			case 'e':
				server.keep_events = read_number(optarg, 1);
				break;
			case 's':
				add_stripe_secret(optarg);
				break;
			case 'm':
				read_adyen_key(optarg);
				break;
			case 'h':
				usage(stdout);
				exit(0);
			default:
				usage(stderr);
				exit(1);
		}
	if (optind < argc || (options->tls_cert == NULL) != (options->tls_key == NULL))
	{
		usage(stderr);
		exit(1);
	}
}

/* Returns the contents of a file as a string. */
static char *
read_file(const char *path)
{
	FILE	   *file = fopen(path, "r");
	StrBuf		buf = {0};
	char		block[4096];
	size_t		len;

	if (file == NULL)
		die("could not open", path);
	while ((len = fread(block, 1, sizeof(block), file)) > 0)
		buf_append(&buf, block, len);
	if (ferror(file) || buf.data == NULL)
		die("could not read", path);
	fclose(file);
	return buf.data;
}

/* Writes the port so that a reader sees all of it or nothing. */
static void
write_port_file(const char *path, int port)
{
	StrBuf		temporary = {0};
	FILE	   *file;

	buf_printf(&temporary, "%s.new", path);
	file = fopen(temporary.data, "w");
	if (file == NULL)
		die("could not create", temporary.data);
	if (fprintf(file, "%d\n", port) < 0 || fclose(file) != 0 ||
		rename(temporary.data, path) != 0)
		die("could not write", path);
	buf_free(&temporary);
}

/* Switches Nagle's algorithm off on every new connection. */
static void
connection_notify(void *cls, struct MHD_Connection *connection,
				  void **socket_context,
				  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;
	int			on = 1;

	(void) cls;
	(void) socket_context;
	if (code != MHD_CONNECTION_NOTIFY_STARTED)
		return;
	info = MHD_get_connection_info(connection,
								   MHD_CONNECTION_INFO_CONNECTION_FD);
	setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Starts libmicrohttpd on the loopback interface. */
static void
start_daemon(const Options *options)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t) options->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	unsigned	flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
	struct MHD_OptionItem tls[3] = {{MHD_OPTION_END, 0, NULL}};
	char	   *cert = NULL;
	char	   *key = NULL;

	if (options->tls_cert != NULL)
	{
		cert = read_file(options->tls_cert);
		key = read_file(options->tls_key);
		flags |= MHD_USE_TLS;
		tls[0] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_CERT, 0, cert};
		tls[1] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_KEY, 0, key};
		tls[2] = (struct MHD_OptionItem) {MHD_OPTION_END, 0, NULL};
	}
	server.daemon = MHD_start_daemon(flags, 0, NULL, NULL,
									 request_handle, NULL,
									 MHD_OPTION_SOCK_ADDR, &address,
									 MHD_OPTION_CONNECTION_LIMIT,
									 (unsigned) MAX_CONNECTIONS,
									 MHD_OPTION_URI_LOG_CALLBACK,
									 request_begin, NULL,
									 MHD_OPTION_NOTIFY_COMPLETED,
									 request_end, NULL,
									 MHD_OPTION_NOTIFY_CONNECTION,
									 connection_notify, NULL,
									 MHD_OPTION_ARRAY, tls,
									 MHD_OPTION_END);
	free(cert);
	free(key);
	if (server.daemon == NULL)
		die("could not listen on", "127.0.0.1");
}

/* Says where the server listens. */
static void
announce(const Options *options)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(server.daemon, MHD_DAEMON_INFO_BIND_PORT);
	int			port = info->port;

	if (options->port_file != NULL)
		write_port_file(options->port_file, port);
	printf("listening on 127.0.0.1:%d\n", port);
	fflush(stdout);
}

/* Adds a descriptor to the event loop. */
static void
watch(int fd, void *marker)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = marker};

	if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("could not watch", "a descriptor");
}

/* Blocks the signals that end the server and watches for them instead. */
static void
watch_signals(void)
{
	sigset_t	signals;
	int			fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("could not watch", "signals");
	watch(fd, &signal_marker);
}

/* Milliseconds until libmicrohttpd or a timer wants to run, -1 for never. */
static int
wait_ms(void)
{
	MHD_UNSIGNED_LONG_LONG left;
	int			timer = timers_wait_ms();

	if (MHD_get_timeout(server.daemon, &left) != MHD_YES)
		return timer;
	if (timer >= 0 && (MHD_UNSIGNED_LONG_LONG) timer < left)
		return timer;
	return (int) left;
}

/* Runs until a signal ends it. */
static void
event_loop(void)
{
	struct epoll_event events[MAX_EVENTS];

	for (;;)
	{
		int			count = epoll_wait(server.epoll, events, MAX_EVENTS,
									   wait_ms());

		if (count < 0 && errno != EINTR)
			die("could not wait for", "events");
		for (int i = 0; i < count; i++)
		{
			if (events[i].data.ptr == &signal_marker)
				return;
			if (events[i].data.ptr != &daemon_marker)
				request_peer_gone(events[i].data.ptr);
		}
		timers_run();
		MHD_run(server.daemon);
	}
}

/* Allows as many connections as the system does. */
static void
raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int
main(int argc, char **argv)
{
	Options		options = {0};

	read_options(argc, argv, &options);
	raise_limits();
	if (options.log != NULL && !log_open(options.log))
		return 1;
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (server.epoll < 0)
		die("could not create", "an epoll instance");
	watch_signals();
	start_daemon(&options);
	watch(MHD_get_daemon_info(server.daemon,
							  MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
		  &daemon_marker);
	announce(&options);

	event_loop();

	timers_fire_all();
	MHD_stop_daemon(server.daemon);
	faults_clear();
	store_reset();
	adyen_reset();
	webhooks_forget();
	idempotency_forget();
	log_close();
	close(server.epoll);
	return 0;
}

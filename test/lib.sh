# test/lib.sh: sourced by the scripts of this folder.
# shellcheck shell=bash
#
# PostgreSQL refuses to run as root, so root's servers and tests run as user
# postgres, in folders of that user; any other user runs them as itself.

PG_VERSION=${PG_VERSION:-15}
PG_BIN=${PG_BIN:-/usr/lib/postgresql/$PG_VERSION/bin}
PG_CONFIG=${PG_CONFIG:-$PG_BIN/pg_config}
export PG_CONFIG

if [ "$(id -u)" = 0 ]; then
	RUN_USER=postgres
else
	RUN_USER=$(id -un)
fi

# What the package registries gave is kept here between runs.
PAYLEDGER_CACHE=${PAYLEDGER_CACHE:-/var/tmp/payledger-cache-$RUN_USER}
export PAYLEDGER_CACHE

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Run as the unprivileged user, from a folder that it can read.
as_user() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$RUN_USER" -- env HOME=/tmp PATH="$PATH" "$@"
	else
		"$@"
	fi
}

# Run with the rights to install.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		command -v sudo >/dev/null || die "not root and no sudo: cannot run $*"
		sudo env PG_CONFIG="$PG_CONFIG" DEBIAN_FRONTEND="${DEBIAN_FRONTEND:-}" "$@"
	fi
}

# make_user_dir DIR: an empty or existing folder of the unprivileged user.
make_user_dir() {
	mkdir -p "$1"
	if [ "$(id -u)" = 0 ]; then
		chown "$RUN_USER" "$1"
	fi
}

# A copy of the checkout that the unprivileged user can read and write: the
# checkout itself may be in a home folder, or another user's.
copy_tree() {
	rm -rf "$2"
	make_user_dir "$2"
	(cd "$1" && tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude=./tmp_check \
		--exclude=node_modules --exclude=./test/.cache .) | as_user tar -xf - -C "$2"
}

free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

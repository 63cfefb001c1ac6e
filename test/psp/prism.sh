#!/bin/sh
#
# Installs Prism, a mock server for any description of an API, and starts it.
#
#	prism.sh install		install it; print the path of the program
#	prism.sh run PORT SPEC		serve SPEC on this port of 127.0.0.1
#
# Everything goes into the folder PAYLEDGER_CACHE, by default test/.cache, and
# is installed once for each prism/package-lock.json, which pins all versions
# and checksums.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${PAYLEDGER_CACHE:-$(dirname "$here")/.cache}
npm=${NPM:-npm}
lock=$(sha256sum < "$here/prism/package-lock.json" | cut -c 1-12)

# Makes the cache folder, which keeps itself out of git.
make_cache()
{
	mkdir -p "$cache"
	[ -e "$cache/.gitignore" ] || echo '*' > "$cache/.gitignore"
	cache=$(cd "$cache" && pwd)
	target=$cache/prism-$lock
	program=$target/node_modules/.bin/prism
}

# Installs into a folder of its own, which then takes its place.
build()
{
	rm -rf "$target.new"
	mkdir "$target.new"
	cp "$here/prism/package.json" "$here/prism/package-lock.json" "$target.new"
	(cd "$target.new" && "$npm" ci --no-audit --no-fund) >&2
	mv "$target.new" "$target"
}

# Installs unless that has been done; only one process at a time does it.
install_once()
{
	make_cache
	[ -x "$program" ] && return
	exec 9> "$cache/prism.lock"
	flock 9
	[ -x "$program" ] || build
	exec 9>&-
}

case ${1:-} in
	install)
		install_once
		echo "$program"
		;;
	run)
		[ $# -eq 3 ] || { echo "prism.sh: run needs a port and a file" >&2; exit 1; }
		install_once
		exec "$program" mock -h 127.0.0.1 -p "$2" "$3"
		;;
	*)
		sed -n '3,6s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
esac

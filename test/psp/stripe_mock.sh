#!/bin/sh
#
# Installs stripe-mock, Stripe's own stateless mock server, and starts it.
#
#	stripe_mock.sh install			build it; print the path of the binary
#	stripe_mock.sh spec			print the path of Stripe's OpenAPI description
#	stripe_mock.sh run HTTP [HTTPS]		serve on these ports of 127.0.0.1
#
# Everything goes into the folder PAYLEDGER_CACHE, by default test/.cache,
# and is built once. GO names the go command to use.
#
# The version is pinned, and so is the checksum of its source; the Go checksum
# database vouches for both. It wants Go 1.22, Debian 12 has Go 1.19. Releases
# of Go are modules too: with an older go the script lets it download the
# toolchain from the module proxy, as newer ones do by themselves. The go.mod
# files in there are called _go.mod and no file is executable, because a module
# can't have it otherwise; that is put right before use.
#
# The description of the API (spec3.json) is the one that is built into this
# version of stripe-mock.

set -eu

VERSION=v0.203.0
SUM=h1:EzW7nb/fphqcAkgVRHAaC88OaAZo6SBWSl54cflDTio=
TOOLCHAIN=v0.0.1-go1.22.12
MODULE=github.com/stripe/stripe-mock

here=$(cd "$(dirname "$0")" && pwd)
cache=${PAYLEDGER_CACHE:-$(dirname "$here")/.cache}
target=$cache/stripe-mock-$VERSION
go=${GO:-go}

die()
{
	echo "stripe_mock.sh: $*" >&2
	exit 1
}

# Makes the cache folder, which keeps itself out of git.
make_cache()
{
	mkdir -p "$cache"
	[ -e "$cache/.gitignore" ] || echo '*' > "$cache/.gitignore"
	cache=$(cd "$cache" && pwd)
	target=$cache/stripe-mock-$VERSION
}

# Runs a go command with a module cache of our own and no surprises.
run_go()
{
	env GOPATH="$cache/go" GOMODCACHE="$cache/go/pkg/mod" \
		GOCACHE="$cache/go/build" GOBIN="$target.new" \
		GOFLAGS=-modcacherw GO111MODULE=on GOTOOLCHAIN=local GOWORK=off \
		"$@"
}

# Prints a member of the JSON that go mod download writes.
member()
{
	sed -n "s/^[[:space:]]*\"$1\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p"
}

# Is this go new enough for the module?
new_enough()
{
	minor=$("$1" env GOVERSION 2> /dev/null |
		sed -n 's/^go1\.\([0-9]*\).*/\1/p')
	[ -n "$minor" ] && [ "$minor" -gt 22 ]
}

# Prints the path of a go command that can build the module.
find_go()
{
	command -v "$go" > /dev/null ||
		die "no go command; install golang-go or set GO"
	if new_enough "$go"
	then
		command -v "$go"
		return
	fi
	os=$("$go" env GOOS)
	arch=$("$go" env GOARCH)
	dir=$(run_go "$go" mod download -json \
		"golang.org/toolchain@$TOOLCHAIN.$os-$arch" | member Dir)
	[ -n "$dir" ] || die "could not download Go ${TOOLCHAIN#*-}"
	find "$dir" -name _go.mod |
	while read -r file
	do
		cp "$file" "${file%_go.mod}go.mod"
	done
	chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*
	echo "$dir/bin/go"
}

# Builds the binary and copies the description beside it.
build()
{
	rm -rf "$target.new"
	mkdir "$target.new"
	build_go=$(find_go)
	cd "$cache"
	run_go "$build_go" mod download -json "$MODULE@$VERSION" > "$target.new/json"
	sum=$(member Sum < "$target.new/json")
	dir=$(member Dir < "$target.new/json")
	[ "$sum" = "$SUM" ] || die "the checksum of $MODULE is \"$sum\""
	run_go "$build_go" install "$MODULE@$VERSION" >&2
	cp "$dir/embedded/openapi/spec3.json" "$target.new/"
	rm "$target.new/json"
	mv "$target.new" "$target"
}

# Builds unless that has been done; only one process at a time does it.
install_once()
{
	make_cache
	[ -x "$target/stripe-mock" ] && return
	exec 9> "$cache/stripe-mock.lock"
	flock 9
	[ -x "$target/stripe-mock" ] || build
	exec 9>&-
}

case ${1:-} in
	install)
		install_once
		echo "$target/stripe-mock"
		;;
	spec)
		install_once
		echo "$target/spec3.json"
		;;
	run)
		[ $# -ge 2 ] || die "run needs a port"
		install_once
		if [ $# -ge 3 ]
		then
			set -- -http-addr "127.0.0.1:$2" -https-addr "127.0.0.1:$3"
		else
			set -- -http-addr "127.0.0.1:$2"
		fi
		exec "$target/stripe-mock" "$@"
		;;
	*)
		sed -n '3,8s/^# \{0,1\}//p' "$0" >&2
		exit 2
		;;
esac

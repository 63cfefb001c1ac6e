# shellcheck shell=bash
# test/lint/lib.sh: sourced by the parts, which run in the checkout's top folder.

# the flags of the Makefile, and PostgreSQL's headers as the system's: what is found in them is not ours
# shellcheck disable=SC2034
flags=(-std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -D_GNU_SOURCE -Isrc
	-isystem "$("${PG_CONFIG:-pg_config}" --includedir-server)")

# chosen FILES...: those of them that FILES wants
chosen() {
	[ -n "$FILES" ] || { printf '%s\n' "$@"; return; }
	printf '%s\n' "$@" | grep -xF "$(printf '%s\n' $FILES)"
}

c_files() { chosen src/payledger.c src/*/*.c; }

# The scripts of git's tree whose first line matches.
scripts() {
	chosen $(git ls-files | while read -r file; do
		[ -f "$file" ] && IFS= read -r first <"$file" && [[ "$first" =~ $1 ]] && echo "$file"
	done 2>/dev/null)
}

# each_file COMMAND ARGUMENTS: run it on every C file, two at a time, and print
# the warnings and errors.  A file that is not understood is one too.
each_file() {
	c_files | xargs -P "$(nproc)" -I '{}' sh -c '"$@" 2>&1 | grep -E "^[^ :]+:[0-9]+:[0-9]+: (warning|error|fatal error):"; true' sh "$@" '{}' |
		sed -E 's/^\.\///; s/^([^:]+:[0-9]+):[0-9]+:/\1:/'
}

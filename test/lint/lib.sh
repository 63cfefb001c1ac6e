# shellcheck shell=bash
# test/lint/lib.sh: sourced by the parts, which run in the checkout's top folder.

# the flags of the Makefile, and PostgreSQL's headers as the system's: what is found in them is not ours
# shellcheck disable=SC2034
flags=(-std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -D_GNU_SOURCE -Isrc
	-isystem "$("${PG_CONFIG:-pg_config}" --includedir-server)")

# chosen: of the files that it reads, a line each, those that FILES wants
chosen() {
	[ -n "$FILES" ] || { cat; return; }
	grep -xF "$(printf '%s\n' $FILES)"
}

c_files() { printf '%s\n' src/payledger.c src/*/*.c src/*/*/*.c | chosen; }

# The scripts of git's tree whose first line matches.
scripts() {
	git ls-files | while read -r file; do
		[ -f "$file" ] && IFS= read -r first <"$file" && [[ "$first" =~ $1 ]] && echo "$file"
	done 2>/dev/null | chosen
}

# each_file COMMAND ARGUMENTS: run it on every C file, as many at a time as there
# are processors, and print the warnings and errors in the order of the files.
# A file at which the command fails without a word, or for which it takes more
# than CPU_SECONDS, was not looked at, which is a finding.
each_file() {
	c_files | CPU_SECONDS=${CPU_SECONDS:-120} xargs -P "$(nproc)" -I '{}' test/lint/file '{}' "$@" | sort -t: -k1,1 -k2,2n -k3
}

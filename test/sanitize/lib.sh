# test/sanitize/lib.sh: sourced by the scripts of this folder, after test/lib.sh.
# shellcheck shell=bash

CLANG=${CLANG:-clang}

# What payledger is built with.  What PostgreSQL defines with -fwrapv is a fault in it.
sanitizers='-fsanitize=address,undefined -fno-wrapv -fno-sanitize=function -fno-sanitize-recover=undefined -Wno-unused-command-line-argument'

# A report ends its process by SIGABRT, so that no test overlooks it.  At exit
# PostgreSQL frees nothing; each process may hold 16 MB of freed memory back.
ubsan_flags="abort_on_error=1:halt_on_error=1:print_stacktrace=1:disable_coredump=1"
asan_flags="$ubsan_flags:detect_leaks=0:quarantine_size_mb=16:detect_stack_use_after_return=0:allocator_may_return_null=1"

# use_build FOLDER WHERE: install into a copy of the build in FOLDER, and make
# the scripts of test/ use it.  Copies are hard links, which an installation
# replaces: runs of two checkouts do not meet.  Across file systems they are
# copies indeed.
use_build() {
	rm -rf "$2"
	make_user_dir "$(dirname "$2")"
	as_user cp -al "$1/install" "$2" 2>/dev/null || {
		rm -rf "$2"
		as_user cp -a "$1/install" "$2"
	}
	# pgTAP, of the system: SQL only
	as_user cp "$("$PG_CONFIG" --sharedir)"/extension/pgtap* "$2/share/extension/"
	export PG_BIN=$2/bin
	export PG_CONFIG=$2/bin/pg_config
}

# What no server may say in its log, whatever a test did to it.  A worker that
# a test kills with signal 9 or 15 is none of it.
server_complaints='AddressSanitizer|runtime error:|TRAP:|problem in (alloc set|Slab|Generation)'
server_complaints="$server_complaints|detected write past chunk end|(reference|refcount|file|context|memory) leak"
server_complaints="$server_complaints|shared memory leak|registered snapshots seem to remain|snapshot .* still active"
server_complaints="$server_complaints|left non-empty SPI stack|still owns|was terminated by signal (4|6|7|8|11):|stack smashing"
server_complaints="$server_complaints|malloc\(\)|free\(\)|corrupted|double free"

# complaints FOLDER...: the lines of all server logs below that match, with their files.
complaints() {
	find "$@" -type f \( -name '*.log' -o -name log \) ! -name 'regress_log_*' -print0 2>/dev/null |
		xargs -0 -r grep -EaH "^[0-9].*($server_complaints)|^(=+[0-9]+=+)?ERROR: AddressSanitizer|runtime error:|^TRAP:|WARNING:  .*leak" || true
}

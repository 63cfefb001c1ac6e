# payledger: build with PGXS; see README.md
#
#   make            build             make installcheck  regression and isolation tests on a server that has it preloaded
#   make install    install           make test          everything, on throw-away servers
#   make demo       a payment, shown  make bench         measure; docs/performance.md
#   make torture    exactly once, with a thousand crashes
#   make check-sanitize, check-valgrind, fuzz               memory errors; docs/robustness.md
#   make mutants    small faults in the code, and which test notices each
#   make lint       static analyzers and the tree's own conventions; test/lint/README.md

PG_CONFIG ?= pg_config

EXTENSION = payledger
EXTVERSION = 0.1
MODULE_big = payledger

# ground first; src/rooms says which room may use which
ROOMS := $(shell sed -n 's/^\([a-z][a-z]*\):.*/\1/p' src/rooms)
OBJS = src/payledger.o $(patsubst %.c,%.o,$(foreach room,$(ROOMS),$(sort $(wildcard src/$(room)/*.c src/$(room)/*/*.c))))
DEPS = $(OBJS:.o=.d)

EXTENSION_SQL = payledger--$(EXTVERSION).sql
DATA_built = $(EXTENSION_SQL)
DOCS = README.md

# fmgr and callback signatures have parameters that not every function needs;
# PlQuery and friends rely on zeroed trailing members.
PG_CFLAGS = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -MMD -MP
PG_CPPFLAGS = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
SHLIB_LINK = -lcurl -lrdkafka -lssl -lcrypto
# -fvisibility=hidden would do from PostgreSQL 16 on; before that it hides the functions of SQL, too
SHLIB_EXPORTS = src/exports.txt

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --load-extension=payledger
ISOLATION = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=payledger

EXTRA_CLEAN = $(EXTENSION_SQL) src/exports.list $(DEPS)

# no bitcode: it would need clang, and the server's JIT gains nothing here
override with_llvm := no
# PostgreSQL's own way to find dependencies (--enable-depend) names them by the file alone, and rooms have files of one name
override autodepend := no
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(PGXS),)
include $(PGXS)
else
all install installcheck:
	@echo "$(PG_CONFIG) not found: install the PostgreSQL server headers or set PG_CONFIG" >&2; exit 1
endif

# which headers each object was compiled from: -MMD has written it
-include $(DEPS)

# ---- the install script, from the rooms ----

room_sql = $(foreach room,$(ROOMS),$(sort $(wildcard $(foreach kind,$(1),src/$(room)/$(kind).sql))))

$(EXTENSION_SQL): Makefile src/rooms $(wildcard src/*/*.sql) src/core/setup.awk src/core/core.h
	cat src/core/header.sql $(call room_sql,functions *_functions verify *_verify) src/core/setup.sql src/core/footer.sql | \
	  awk -v tables="$(call room_sql,tables *_tables)" -v triggers="$(call room_sql,triggers *_triggers)" \
	      -v views="$(call room_sql,views *_views)" -v verify="$(call room_sql,verify *_verify)" -v version="$(EXTVERSION)" \
	      -v layout="$$(sed -n 's/^#define PL_LAYOUT_VERSION //p' src/core/core.h)" \
	      -f src/core/setup.awk >$@.tmp
	mv $@.tmp $@

# ---- beyond PGXS: whole runs on throw-away servers ----

.PHONY: demo demo-stop test torture bench conformance mutants garble check-sanitize check-valgrind fuzz lint

demo:
	test/demo

demo-stop:
	test/demo --stop

test:
	test/run

torture:
	test/torture

bench:
	test/bench/run

# HTTP replies that make no sense, under sanitizers
garble:
	$(MAKE) -C test/garble run PG_CONFIG="$(PG_CONFIG)" $(if $(REPLIES),REPLIES=$(REPLIES)) $(if $(SEED),SEED=$(SEED))

conformance:
	test/conformance "$(SPECS)"

# SUITES and TESTS choose; see test/sanitize/README.md
check-sanitize:
	TESTS="$(TESTS)" test/sanitize/check-sanitize $(SUITES)

check-valgrind:
	TESTS="$(TESTS)" test/sanitize/check-valgrind

# each target so many seconds, SEED repeats a run; see test/fuzz/README.md
SECONDS = 20
fuzz:
	test/fuzz/run $(SECONDS) $(TARGETS)

mutants:
	test/mutants/run

# PARTS chooses; see test/lint/README.md
lint: all
	PG_CONFIG="$(PG_CONFIG)" test/lint/run $(PARTS)

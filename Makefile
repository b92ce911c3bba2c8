# oarlock. The verbs are listed by `make help`; README.md explains them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CC ?= gcc
WARN := -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror
CFLAGS ?= -O2 -g -flto=auto -fno-semantic-interposition
CPPFLAGS := -D_GNU_SOURCE -I. -Iinclude
HARDEN := -fno-common -fstack-protector-strong -fno-plt -fvisibility=hidden
LIBS := -lev -lcjson -lpthread -lm -ldl
BUILD := build
Q := $(if $(V),,@)

SERVER_SRC := main.c $(wildcard shared/*.c) $(wildcard master/*.c) $(wildcard worker/*.c)
SERVER_OBJ := $(SERVER_SRC:%.c=$(BUILD)/obj/%.o)
BRIDGE_SRC := $(wildcard worker/py/*.c) worker/poll.c shared/err.c shared/buf.c shared/methods.c shared/fingerprint.c
HEADERS := $(wildcard include/oarlock/*.h shared/*.h master/*.h worker/*.h worker/py/*.h)

# The interpreters, found or built once (scripts/interpreters.sh), remembered in build/.
GIL_STAMP := $(BUILD)/python-gil
FT_STAMP := $(BUILD)/python-ft

.SECONDARY:
.PHONY: soak stays compare tune doctor validate regret peers bench-peers bench-pool help bridge sanitized build run test unit e2e asyncio lint interop handlers bench asan tsan fuzz fuzzers replay corpora install clean docs setup server FORCE

help: ## this list
	@echo "oarlock: make VERB"
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 15
	@echo
	@echo "  PYTHON=, FT_PYTHON=  interpreters to use instead of building both (>= 3.13, shared libpython)"
	@echo "  OPTIMIZED=1          build the interpreters with PGO and LTO    V=1  show commands"

setup:
	@scripts/packages.sh build

$(BUILD)/python-%: FORCE | setup
	@mkdir -p $(BUILD)
	@path=$$(scripts/interpreters.sh $* $(SANITIZER)); [ -f $@ ] && [ "$$(cat $@)" = "$$path" ] || echo "$$path" > $@

$(BUILD)/obj/%.o: %.c $(HEADERS) Makefile
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(HARDEN) $(CFLAGS) -c $< -o $@

$(BUILD)/oarlock: $(SERVER_OBJ)
	$(if $(V),,@echo "  link  $@")
	$(Q)$(CC) $(CFLAGS) $^ -o $@ -Wl,-z,relro,-z,now $(LIBS)

server: setup
	@$(MAKE) $(BUILD)/oarlock

$(BUILD)/bridge/%.so: $(BRIDGE_SRC) $(HEADERS) $(BUILD)/python-% Makefile
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $@ ($$(cat $(BUILD)/python-$*))")
	$(Q)CC="$(CC)" CFLAGS="$(WARN) $(CPPFLAGS) $(HARDEN) $(CFLAGS)" scripts/bridge.sh "$$(cat $(BUILD)/python-$*)" $@ $(BRIDGE_SRC)

# One bridge for an interpreter that is named: what pip builds (setup.py).
bridge:
	@mkdir -p $(BUILD)/bridge
	@CC="$(CC)" CFLAGS="$(WARN) $(CPPFLAGS) $(HARDEN) $(CFLAGS)" scripts/bridge.sh "$(BRIDGE_PYTHON)" $(BUILD)/bridge/$(BRIDGE).so $(BRIDGE_SRC)

build: setup ## the server and a bridge for each interpreter, in build/
	@$(MAKE) $(BUILD)/oarlock $(BUILD)/bridge/gil.so $(BUILD)/bridge/ft.so

run: build ## serve examples/ on 127.0.0.1:8000 (RUN_FLAGS= adds options, e.g. RUN_FLAGS="--python ft")
	@exec $(BUILD)/oarlock run hello:app --app-dir examples $(RUN_FLAGS)

PREFIX ?= /usr/local
install: build $(BUILD)/load ## copy to PREFIX=/usr/local: bin/oarlock and lib/oarlock/ (DESTDIR= for packagers)
	install -D $(BUILD)/oarlock $(DESTDIR)$(PREFIX)/bin/oarlock
	install -D -t $(DESTDIR)$(PREFIX)/lib/oarlock/bridge $(BUILD)/bridge/gil.so $(BUILD)/bridge/ft.so
	install -D $(BUILD)/load $(DESTDIR)$(PREFIX)/lib/oarlock/oarlock-load
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/oarlock/python/oarlock python/oarlock/*.py python/oarlock/py.typed
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/oarlock/python/oarlock/compare $(wildcard python/oarlock/compare/*.*)
	install -m 644 python/_oarlock.pyi $(DESTDIR)$(PREFIX)/lib/oarlock/python

docs: server ## write docs/options.md from the option table
	@$(BUILD)/oarlock options-doc > docs/options.md

clean: ## remove build/ (the cache with interpreters stays)
	rm -rf $(BUILD)

# ---- tests ----
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

# A unit test includes the .c it tests, statics and all; it is always built with ASan and UBSan.
$(BUILD)/unit/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(wildcard shared/*.c master/*.c worker/*.c) $(HEADERS)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) $(WARN) -Wno-unused-function $(CPPFLAGS) -fno-common -O1 -g $(SANITIZE) $< -o $@ -lcmocka -lhttp_parser -lev -lcjson -lpthread -lm -ldl

# Tests of the connection code as it is linked, on a wire without a kernel (tests/unit/wire.h).
WIRE_TESTS := test_sequences test_deadlines
WIRE_SRC := $(filter-out worker/worker.c worker/bridge.c worker/watchdog.c worker/stub.c,$(wildcard worker/*.c)) $(wildcard shared/*.c) \
    tests/unit/wire.c tests/unit/wire_app.c tests/unit/sequence.c
WIRE_OBJ := $(WIRE_SRC:%.c=$(BUILD)/unit/obj/%.o)
comma := ,
WIRE_WRAP := $(addprefix -Wl$(comma)--wrap=,recv send sendmsg close shutdown setsockopt poll clock_gettime \
    ev_run ev_set_invoke_pending_cb ev_now ev_now_update ev_timer_start ev_timer_stop ev_timer_remaining ev_io_start ev_io_stop)
$(BUILD)/unit/obj/%.o: %.c $(HEADERS) $(wildcard tests/unit/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) -fno-common -O1 -g $(SANITIZE) -c $< -o $@
$(WIRE_TESTS:%=$(BUILD)/unit/%): $(BUILD)/unit/%: $(BUILD)/unit/obj/tests/unit/%.o $(WIRE_OBJ)
	$(if $(V),,@echo "  link  $@")
	$(Q)$(CC) $(SANITIZE) $(WIRE_WRAP) $^ -o $@ -lcmocka -lev -lcjson -lpthread -lm

# The same without sanitizers: for a million sequences (build/sequences --sequences 1000000 --seed 7).
$(BUILD)/sequences: tests/unit/test_sequences.c $(WIRE_SRC) $(HEADERS) $(wildcard tests/unit/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) -O2 -g $(WIRE_WRAP) $(filter %.c,$^) -o $@ -lcmocka -lev -lcjson -lpthread -lm

unit: setup ## the C units under ASan and UBSan (one: make build/unit/test_NAME && build/unit/test_NAME)
	@scripts/packages.sh test
	@$(MAKE) $(UNIT_BIN)
	@for t in $(UNIT_BIN); do echo "== $$t"; ASAN_OPTIONS=detect_leaks=1 ./$$t || exit 1; done

LOAD_SRC := $(wildcard load/*.c)
$(BUILD)/load: $(LOAD_SRC) load/load.h include/oarlock/base.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $@")
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(HARDEN) -O2 -g -flto=auto $(LOAD_SRC) -o $@ -lhttp_parser

$(BUILD)/routes: bench/routes.c $(wildcard shared/*.c) $(HEADERS)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) $(WARN) -Wno-unused-function $(CPPFLAGS) -O2 -g $< -o $@ -lcjson

INPROCESS_SRC := bench/inprocess.c worker/bridge.c worker/params.c $(wildcard shared/*.c)
$(BUILD)/inprocess: $(INPROCESS_SRC) $(HEADERS)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) $(WARN) $(CPPFLAGS) -O2 -g $(INPROCESS_SRC) -o $@ -lcjson -lpthread -lm -ldl

VENV_PYTHON = $(shell scripts/venv.sh $$(cat $(BUILD)/python-gil) tests/requirements.txt)
C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

e2e: build $(BUILD)/load ## pytest against the real server on both interpreters (PYTEST="-q -k slow_reader")
	@$(VENV_PYTHON) -m pytest $(PYTEST)

asyncio: build ## CPython's own test_asyncio on our event loop, on both interpreters (ASYNCIO="--stock" for --loop stock)
	@pids=; for kind in gil ft; do $$(cat $(BUILD)/python-$$kind) tests/asyncio_suite.py $(ASYNCIO) >$(BUILD)/asyncio-$$kind.log 2>&1 & pids="$$pids $$!"; done; \
	    for pid in $$pids; do wait $$pid || failed=1; done; grep -hE "^(FAIL|ERROR):|^(skipped|left out)|^test_asyncio on" $(BUILD)/asyncio-*.log; exit $${failed:-0}

interop: build ## curl, wrk, h2load, Python's clients, Node, a browser, and nginx and HAProxy in front
	@scripts/packages.sh interop
	@$$(scripts/venv.sh $$(cat $(GIL_STAMP)) tests/interop/requirements.txt) -m pytest -q -p no:cacheprovider --rootdir . \
	    -o testpaths=tests/interop -o "pythonpath=tests/e2e scripts" -p conftest tests/interop $(PYTEST)

bench: build $(BUILD)/load $(BUILD)/routes ## requests/s, CPU and instructions per request beside other servers (BENCH="--rounds 11")
	@scripts/packages.sh test
	@$(BUILD)/routes
	@$(VENV_PYTHON) bench/bench.py $(BENCH) --others \
	    "$$(scripts/venv.sh $$(cat $(GIL_STAMP)) bench/requirements-gil.txt)" \
	    "$$(scripts/venv.sh $$(cat $(FT_STAMP)) bench/requirements-ft.txt)"

TOOLS_PYTHON = $(shell scripts/venv.sh $$(cat $(GIL_STAMP)) python/oarlock/compare/requirements.txt)
TOOL = PYTHONPATH=python $(TOOLS_PYTHON) -m oarlock

# An example application; its first two scenarios with --quick.
COMPARE_APP ?= shop:app --app-dir examples --scenarios examples/shop.toml
compare: build $(BUILD)/load ## GIL or no GIL, measured on examples/shop.py (COMPARE=--quick: 3 minutes; COMPARE_APP=app:app, see docs/compare.md)
	@scripts/packages.sh test
	@$(TOOL) compare $(COMPARE_APP) $(COMPARE)

tune: build $(BUILD)/load ## the best workers, threads and pool threads (TUNE="app:app --target throughput", see docs/tune.md)
	@scripts/packages.sh test
	@$(TOOL) tune $(TUNE)

doctor: build $(BUILD)/load ## what in an application stands in the way of threads (DOCTOR="app:app", see docs/doctor.md)
	@scripts/packages.sh test
	@$(TOOL) doctor $(DOCTOR)

validate: build $(BUILD)/load ## is the comparison to be trusted? 20 A/A and 20 A/B runs (VALIDATE="--runs 5")
	@$(TOOLS_PYTHON) bench/validate.py $(VALIDATE)

regret: build $(BUILD)/load ## what tune gives away against an exhaustive grid, on six shapes
	@$(TOOLS_PYTHON) bench/regret.py $(REGRET)

bench-pool: build $(BUILD)/load ## what the size of the pool does, beside handlers that wait and that compute (POOL="--kind ft --rounds 4")
	@$(TOOLS_PYTHON) bench/pool.py $(POOL)

$(BUILD)/net-http: bench/go/main.go bench/go/go.mod
	@if command -v go >/dev/null; then cd bench/go && go build -o ../../$@ .; else echo "  no go: net/http is left out"; fi

peers: build $(BUILD)/load $(BUILD)/net-http $(BUILD)/axum/release/oarlock-bench-axum ## oarlock beside other servers, into docs/benchmarks.md (ALL=1: more of them; OPTIMIZED=1; PEERS="--time 300")
	@scripts/packages.sh test
	@$(TOOLS_PYTHON) bench/peers.py --gil "$$(cat $(GIL_STAMP))" --ft "$$(cat $(FT_STAMP))" --go $(BUILD)/net-http \
	    --axum $(BUILD)/axum/release/oarlock-bench-axum \
	    --gil-peers "$$(scripts/venv.sh $$(cat $(GIL_STAMP)) bench/requirements-gil.txt)" \
	    --ft-peers "$$(scripts/venv.sh $$(cat $(FT_STAMP)) bench/requirements-ft.txt)" \
	    $(if $(ALL),--all "$$(scripts/venv.sh $$(cat $(GIL_STAMP)) bench/requirements-all.txt)") $(PEERS)

bench-peers: peers ## the same as peers

$(BUILD)/axum/release/oarlock-bench-axum: bench/axum/Cargo.toml bench/axum/src/main.rs
	@if command -v cargo >/dev/null; then cd bench/axum && CARGO_TARGET_DIR=../../$(BUILD)/axum cargo build --release --quiet; \
	    else echo "  no cargo: axum is left out"; fi

handlers: build $(BUILD)/load $(BUILD)/inprocess $(BUILD)/axum/release/oarlock-bench-axum ## what handlers cost (HANDLERS="wire wait --rounds 11"; parts: wire wait inprocess cpu mixed beside five collect)
	@scripts/packages.sh test
	@python3 bench/handlers.py $(HANDLERS) --others "$$(scripts/venv.sh $$(cat $(GIL_STAMP)) bench/requirements-gil.txt)"

stays: build $(BUILD)/load ## who waits for a `def` that stays on the thread that drives its event loop (STAYS="--rounds 9")
	@python3 bench/stays.py $(STAYS)

# Minutes of each program by nature; CI gives each 60 seconds. One after the other: each wants both cores.
SOAKS := "pipelined.py" $(foreach k,gil ft,"slow_readers.py $(SOAK) --python $(k)" "stays.py $(SOAK) --silent --python $(k)" \
    "stays.py $(SOAK) --python $(k)" "stays.py $(SOAK) --python $(k) --threads 2")
soak: build $(BUILD)/load $(BUILD)/unit/test_relay ## hostile and patient clients for TIME=60 seconds a program, on both interpreters (SOAK=--bar: figures count, too)
	@scripts/packages.sh test
	@failed=0; for program in $(SOAKS); do echo "== $$program"; \
	    $(VENV_PYTHON) tests/soak/$$program --time $(or $(TIME),60) || { failed=1; echo "== FAILED: $$program"; }; done; \
	    echo "== test_relay, 10 million steps and rounds"; \
	    RELAY_STEPS=10000000 RELAY_ROUNDS=10000000 $(BUILD)/unit/test_relay || failed=1; exit $$failed

test: build $(BUILD)/load ## all tests: units under sanitizers, HTTP cases, corpora, end to end on both interpreters
	@$(MAKE) unit
	@$(MAKE) replay
	@scripts/packages.sh test
	@$(MAKE) asyncio
	@$(VENV_PYTHON) -m pytest -q $(PYTEST)

# Fuzzers: libFuzzer with ASan and UBSan. Seeds are the cases of tests/http and the corpora that earlier runs have found.
FUZZ := $(BUILD)/fuzz
FUZZERS := http route origin
LONGEST_http := 8192
LONGEST_route := 16384
LONGEST_origin := 2300
$(FUZZ)/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/fuzz.h $(wildcard shared/*.c worker/*.c tests/unit/*.h) $(HEADERS)
	@mkdir -p $(FUZZ)/$*
	$(if $(V),,@echo "  fuzz  $<")
	$(Q)clang -std=c11 $(CPPFLAGS) -O1 -g -Wall -Wextra -Wno-unused-function -Werror -fsanitize=fuzzer,address,undefined \
	    -fno-sanitize-recover=all $< -o $@ -lhttp_parser -lcjson

fuzzers: setup
	@scripts/packages.sh test fuzz
	@$(MAKE) $(FUZZERS:%=$(FUZZ)/fuzz_%)
	@python3 scripts/fuzz_seeds.py unpack $(FUZZ)/seeds

fuzz: fuzzers ## fuzz the HTTP parsers, routes, and proxies' headers for TIME=60 seconds each
	@$(foreach t,$(FUZZERS),echo "== fuzz_$(t)" && $(FUZZ)/fuzz_$(t) -max_total_time=$(or $(TIME),60) -max_len=$(LONGEST_$(t)) -timeout=5 \
	    -print_final_stats=1 -verbosity=0 $(FUZZ_FLAGS) -artifact_prefix=$(FUZZ)/$(t)- $(FUZZ)/$(t) $(FUZZ)/seeds/$(t) &&) true

replay: fuzzers
	@$(foreach t,$(FUZZERS),$(FUZZ)/fuzz_$(t) -runs=0 -max_len=$(LONGEST_$(t)) -timeout=5 -verbosity=0 -artifact_prefix=$(FUZZ)/$(t)- \
	    $(FUZZ)/seeds/$(t) &&) true
	@echo "fuzzers: no seed and no input of the kept corpora is taken amiss"

corpora: fuzzers ## what `make fuzz` has found, at its smallest, into tests/fuzz
	@$(foreach t,$(FUZZERS),rm -rf $(FUZZ)/merged && mkdir $(FUZZ)/merged && \
	    $(FUZZ)/fuzz_$(t) -merge=1 -max_len=$(LONGEST_$(t)) -verbosity=0 $(FUZZ)/merged $(FUZZ)/$(t) $(FUZZ)/seeds/$(t) >/dev/null 2>&1 && \
	    python3 scripts/fuzz_seeds.py keep $(t) $(FUZZ)/merged &&) true

# The end-to-end tests on a server, a bridge and interpreters that are all built with a sanitizer.
# A report makes the process that it is about end with status 99, which no test takes for a good end.
asan: setup $(BUILD)/load ## the end-to-end tests with AddressSanitizer and UBSan, on both interpreters
	@$(MAKE) sanitized BUILD=build/asan SANITIZER=address KINDS="gil ft" FAULT=overflow \
	    CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"

tsan: setup $(BUILD)/load ## the end-to-end tests with ThreadSanitizer, on the free-threaded interpreter
	@$(MAKE) sanitized BUILD=build/tsan SANITIZER=thread KINDS=ft FAULT=race CFLAGS="-O1 -g -fsanitize=thread"

sanitized: build/load
	@$(MAKE) $(BUILD)/oarlock $(KINDS:%=$(BUILD)/bridge/%.so) $(KINDS:%=$(BUILD)/seeded/%/seeded.so)
	@scripts/packages.sh test
	@ln -sfn ../python build/python # where the server in $(BUILD) looks for the package
	@rm -f $(BUILD)/report.*
	@OARLOCK_TEST_BUILD=$(BUILD) OARLOCK_TEST_KINDS="$(KINDS)" OARLOCK_TEST_FAULT=$(FAULT) \
	    ASAN_OPTIONS=detect_leaks=0:exitcode=99:abort_on_error=0:log_path=$(CURDIR)/$(BUILD)/report \
	    UBSAN_OPTIONS=print_stacktrace=1:exitcode=99:log_path=$(CURDIR)/$(BUILD)/report \
	    TSAN_OPTIONS=exitcode=99:halt_on_error=0:report_thread_leaks=0:suppressions=$(CURDIR)/tests/tsan.supp:log_path=$(CURDIR)/$(BUILD)/report \
	    $(shell scripts/venv.sh $$(scripts/interpreters.sh gil) tests/requirements.txt) -m pytest -q $(PYTEST) \
	    --deselect tests/e2e/test_package.py
	@if ls $(BUILD)/report.* >/dev/null 2>&1; then head -c 6000 $(BUILD)/report.*; exit 1; fi

# A test-only extension with faults in it: what the sanitizers must see.
$(BUILD)/seeded/%/seeded.so: tests/seeded/seeded.c $(BUILD)/python-%
	@mkdir -p $(@D)
	$(Q)CC="$(CC)" CFLAGS="$(CFLAGS)" scripts/bridge.sh "$$(cat $(BUILD)/python-$*)" $@ $<

lint: build ## formatting, static analysis, types, who includes whom, circles, sizes, links, commit subjects
	@scripts/packages.sh lint
	@clang-format --dry-run -Werror $(C_FILES) && echo "clang-format: $(words $(C_FILES)) files in form"
	@python=$(VENV_PYTHON); for check in includes circles sizes links commits; do $$python scripts/check_$$check.py || exit 1; done
	@clang-tidy --quiet $(filter-out worker/py/%,$(SERVER_SRC)) -- -std=c11 $(CPPFLAGS) 2>/dev/null && echo "clang-tidy: clean"
	@clang $(WARN) $(CPPFLAGS) -fsyntax-only $(SERVER_SRC) && echo "clang: no warnings"
	@$(VENV_PYTHON) -m ruff check . && $(VENV_PYTHON) -m ruff format --check -q . && $(VENV_PYTHON) -m mypy

# The remembered front of the CMake build. `make demo` and `make test` do everything on a fresh
# Debian 12: they call tools/setup, which installs what is missing, once.
PRESET ?= release
BUILD := build/$(PRESET)
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
REPORT ?= wattlaw-report

.PHONY: build configure program test check demo install dist fuzz bench format setup clean help

build: configure
	@cmake --build $(BUILD) -j$(JOBS)

configure: setup
	@cmake --preset $(PRESET) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }

program: configure # without the tests
	@cmake --build $(BUILD) -j$(JOBS) --target wattlaw

setup:
	@tools/setup
	@mkdir -p build

demo: program ## study the built-in model, offline, and say where the report is
	@$(BUILD)/bin/wattlaw study --budget 90s --out $(REPORT) || [ $$? -eq 3 ] # 3: measured, but on a busy machine

test: build
	@ctest --test-dir $(BUILD) --output-on-failure -j$(JOBS)

check: ## the stricter checks of CI: sanitizers, layers, format, tidy
	@tools/check

install: build
	@cmake --install $(BUILD) $(if $(PREFIX),--prefix $(PREFIX))

dist: ## a source archive of HEAD
	@mkdir -p dist
	@git archive --format=tar.gz --prefix=wattlaw-$$(git describe --always)/ \
	    -o dist/wattlaw-$$(git describe --always).tar.gz HEAD && ls dist

fuzz: setup ## each fuzz target for SECONDS_EACH seconds
	@tools/fuzz $(SECONDS_EACH)

bench: build
	@cmake --build $(BUILD) --target bench -j$(JOBS)
	@bench/run $(BUILD)

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	@rm -rf build

help:
	@grep -hE '^[a-z]+:.*' Makefile | sed 's/:.*##/:/; s/:.*$$/ &/'

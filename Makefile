# make help says what there is. Everything works as root and not; only root
# installs the Debian packages that tests need, others are told what is missing.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

GO            ?= go
LINT_VERSION  := v2.15.0
LINT          := .cache/bin/golangci-lint-$(LINT_VERSION)
BENCHTIME     ?= 1s
FUZZTIME      ?= 10s
DATA          ?= .data
FLAGS         ?= --demo
SEED          ?= 0
CASES         ?= internal/eval/cases
EVAL          ?=

# A clone that belongs to another user has no readable git metadata.
BUILD := $(GO) build -buildvcs=false
# Go tests with one PostgreSQL around all of them.
WITHPG := $(GO) run -buildvcs=false ./internal/postgres/pgtest/withpg

WEB_SOURCES := $(shell find web/src web/public web/index.html web/vite.config.ts web/tsconfig.json web/package.json -type f 2>/dev/null)
TESTS_WITH   = $(shell grep -rlE --include='*_test.go' '^func $(1)' cmd internal 2>/dev/null | xargs -r -n1 dirname | sort -u | sed 's,^,./,')

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##### Run and build

.PHONY: run
run: web/dist/index.html ## everything in one process on loopback, with a demo incident (DATA=dir, FLAGS="--demo")
	@mkdir -p bin $(DATA)
	$(BUILD) -o bin/akmatori-dev ./cmd/dev
	@exec bin/akmatori-dev --data $(DATA) $(FLAGS)

.PHONY: build
build: bin/.all ## the page and all programs, in bin/

# go build itself knows best what is up to date: this always runs.
.PHONY: bin/.all
bin/.all: web/dist/index.html
	@mkdir -p bin
	$(BUILD) -o bin/akmatori-api ./cmd/api
	$(BUILD) -o bin/akmatori-agent ./cmd/agent
	$(BUILD) -o bin/mcp-gateway ./cmd/mcp
	$(BUILD) -o bin/credential-proxy ./cmd/proxy
	$(BUILD) -o bin/akmatori ./cmd/akmatori
	$(BUILD) -o bin/akmatori-init ./cmd/init
	$(BUILD) -o bin/akmatori-dev ./cmd/dev

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	npm --prefix web ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# The public conformance suite of MCP, with the Node that it needs.
MCP_SUITE := internal/gateway/testdata/conformance
$(MCP_SUITE)/node_modules/.package-lock.json: $(MCP_SUITE)/package.json $(MCP_SUITE)/package-lock.json
	npm --prefix $(MCP_SUITE) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	npm --prefix web run build
	@touch $@

.PHONY: eval
eval: bin/.all ## run the cases of incidents that ship, and judge what is found (CASES=folder, EVAL="--model FILE")
	@bin/akmatori eval $(EVAL) $(CASES)

##### Test

.PHONY: test
test: test-go test-web test-browser-states test-browser ## Go tests with -race, the page's unit tests, the browser tests

.PHONY: packages
packages: # what tests need of Debian
	@deploy/peers/packages.sh test

.PHONY: test-go
test-go: packages web/dist/index.html ## Go tests alone
	$(WITHPG) $(GO) test -race ./...

.PHONY: test-web
test-web: web/dist/index.html ## the page's unit tests alone, and what its first load costs
	npm --prefix web test
	npm --prefix web run --silent budget

.PHONY: test-browser-states
test-browser-states: web/dist/index.html ## every page in a real Chromium, empty, loading, offline, failing and very full, against a faked api
	@if [ -x /usr/bin/chromium ] || [ -n "$${CI:-}" ]; then npm --prefix web run --silent states; \
	else echo "the browser test is skipped: there is no /usr/bin/chromium"; fi

.PHONY: test-browser
test-browser: packages web/dist/index.html ## the page in a real Chromium, against the real processes
	@mkdir -p bin
	$(BUILD) -o bin/akmatori-dev ./cmd/dev
	$(BUILD) -o bin/akmatori-agent ./cmd/agent
	@if [ -x /usr/bin/chromium ] || [ -n "$${CI:-}" ]; then exec .ci/with-dev npm --prefix web run e2e; \
	else echo "the browser test is skipped: there is no /usr/bin/chromium"; fi

# Two alerts an incident are enough for the list, and made in half the time.
.PHONY: test-browser-scale
test-browser-scale: packages web/dist/index.html ## the page in a real Chromium with 100,000 incidents: list, scrolling, search, first paint
	@mkdir -p bin
	$(BUILD) -o bin/akmatori-dev ./cmd/dev
	@if [ -x /usr/bin/chromium ] || [ -n "$${CI:-}" ]; then DEV_FLAGS="--incidents 100000 --alerts 200000" DEV_WAIT=900 exec .ci/with-dev npm --prefix web run scale; \
	else echo "the browser test is skipped: there is no /usr/bin/chromium"; fi

# With SCALE=1 it makes 100,000 incidents with 1,000,000 alerts, which takes a
# minute or two on two idle cores; without, a fifth of both.
.PHONY: test-scale
test-scale: ## lists, facets, search and pages of a large database (SCALE=1: larger)
	$(WITHPG) $(GO) test -count=1 -v -timeout 30m -tags scale -run '^TestScale$$' ./internal/api

.PHONY: test-peers
test-peers: web/dist/index.html $(MCP_SUITE)/node_modules/.package-lock.json ## the whole flow against real Alertmanager, Prometheus, OpenSSH, Zabbix and OpenID Connect, MCP conformance (root)
	@deploy/peers/packages.sh peers
	$(WITHPG) $(GO) test -race -count=1 -timeout 15m -tags peers ./internal/stack/... ./internal/gateway/...

.PHONY: test-chaos
test-chaos: packages web/dist/index.html ## a storm of 10,000 alerts, and 50 investigations, through kill -9 and a crash of PostgreSQL (SEED=n repeats one)
	$(GO) test -race -count=1 -v -timeout 15m -tags chaos -run 'TestStorm|TestInvestigations' ./internal/stack -seed $(SEED)

.PHONY: test-compose
test-compose: ## the images and docker-compose.yml in a Docker engine of its own, with the isolation matrix (root)
	@deploy/images/packages.sh
	$(GO) test -count=1 -v -timeout 40m -tags compose ./deploy/compose

.PHONY: check
check: $(LINT) web/node_modules/.package-lock.json ## format, vet, lint, import rules, types; under a minute when warm
	@bad=$$(gofmt -l cmd deploy internal migrations web/*.go); [ -z "$$bad" ] || { echo "not gofmt'ed:"; echo "$$bad"; exit 1; }
	$(GO) vet -tags peers,chaos,compose,scale ./...
	cd deploy/peers/oidc && $(GO) vet .
	$(LINT) run
	$(GO) test ./cmd/
	@cd web && npx --no-install openapi-typescript openapi.json 2>/dev/null | cmp -s - src/api/schema.d.ts || { echo "web/src/api/schema.d.ts is not of web/openapi.json; run: npm --prefix web run types"; exit 1; }
	cd web && npx --no-install tsc --noEmit && npx --no-install tsc --noEmit -p tsconfig.node.json && npm run --silent lint
	@for script in .ci/* deploy/peers/*.sh deploy/images/*.sh; do bash -n $$script; done

$(LINT):
	@mkdir -p $(@D)/new
	GOBIN=$(CURDIR)/$(@D)/new GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(@D)/new/golangci-lint $@

.PHONY: bench
bench: web/dist/index.html ## benchmarks (BENCHTIME=1s)
	$(WITHPG) $(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 15m $(call TESTS_WITH,Benchmark)

.PHONY: fuzz
fuzz: ## each fuzz test for a while (FUZZTIME=10s, FUZZ=part of a name)
	@.ci/fuzz $(FUZZTIME) $(FUZZ)

.PHONY: clean
clean: ## remove what make has built (not the data of make run)
	rm -rf bin .cache web/node_modules web/test-results $(MCP_SUITE)/node_modules
	find web/dist -mindepth 1 ! -name .keep -delete

# `make help` lists the targets. Everything lives in .venv; the only needs are Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
DISTRIBUTIONS := sdk worker-image agent control-plane operator gateway local
STAMP := .venv/.installed
TEST_PROCESSES ?= 4
BUILD_STAMP := .venv-build/.installed
BENCH_STAMP := .venv-bench/.installed
RELEASE_STAMP := .venv-release/.installed
DOCS_STAMP := .venv-docs/.installed
MCP_STAMPS := .venv-mcp-1/.installed .venv-fastmcp/.installed
MKDOCS := NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs

NEW_ENOUGH := $(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python >= 3.11 is needed, this is " + sys.version.split()[0] + ": set PYTHON=python3.11 or newer")'

# A recipe: .venv-NAME with what requirements/NAME.txt pins.
define VENV
@$(NEW_ENOUGH)
@$(PYTHON) -m venv .venv-$(1)
@.venv-$(1)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/$(1).txt
endef

.DEFAULT_GOAL := help
.PHONY: help setup wheels demo hostile test compiled test-cluster test-any-node test-upgrade test-keda test-cert-manager test-hpa test-helm test-mcp-clients demo-kubernetes bench scale soak simulate mcp-storm fuzz images release test-release sbom audit protos protos-release crds lint docs site clean cluster-up cluster-down requirements pictures recording

help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## Make .venv with every component of the checkout

$(STAMP): requirements/dev.txt $(DISTRIBUTIONS:%=%/pyproject.toml)
	@$(NEW_ENOUGH)
	@echo "setting up .venv (once; a minute or two) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation $(DISTRIBUTIONS:%=-e ./%)
	@touch $@

$(BUILD_STAMP): requirements/build.txt
	$(call VENV,build)
	@touch $@

wheels: $(BUILD_STAMP) ## Build the seven distributions into dist/, for `pip install dist/*.whl` in an environment of yours
	@rm -rf dist
	@PATH="$(CURDIR)/.venv-build/bin:$$PATH" hack/images/build-wheels dist $(DISTRIBUTIONS)

demo: setup ## Run a pool on this machine: calls, a stream, a session, a killed worker
	@$(BIN)/python examples/digits/demo

# What pip, mypy and pytest do before any test runs keeps one processor busy each: two of them go on at the same time.
# SNAKEPIT_REQUIRE_ALL=1: a test that would be skipped fails.
test: ## Everything that needs no cluster, its tests in TEST_PROCESSES (4) processes
	@$(MAKE) --no-print-directory -j2 lint compiled $(DOCS_STAMP) $(BUILD_STAMP)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations=40 --durations-min=5

# Our programs start hundreds of times in tests, and each process of tests reads them all, as pytest writes them.
compiled: setup
	@$(BIN)/python -m compileall -q $(DISTRIBUTIONS:%=%/src) tests/support
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --collect-only -qqq

test-cluster: setup ## Everything that needs a real Kubernetes, which it starts and ends (root; or CLUSTER=existing)
	@hack/test-cluster

test-any-node: setup ## Three nodes with a Redis server each: any of them dies, under load (root)
	@hack/test-any-node

test-upgrade: setup ## The chart and images of FROM (a tag or a commit), upgraded to this checkout under load: at each release
	@hack/test-upgrade

test-keda: setup ## The real KEDA sizes a pool, at a real API server and on the cluster (root); it is built once, in a quarter of an hour
	@hack/test-keda

test-cert-manager: setup ## The real cert-manager makes the chart's certificates; it is built once, in minutes
	@$(PYTHON) hack/go_tools.py cert-manager
	@$(BIN)/python -m pytest tests/cert_manager -p no:cacheprovider -rP

test-hpa: setup ## The real metrics-server and HorizontalPodAutoscaler size the gateway, on the cluster of test-cluster
	@program=$$($(PYTHON) hack/go_tools.py metrics-server) && METRICS_SERVER="$$program" hack/test-cluster -k gateway_hpa

$(MCP_STAMPS): .venv-%/.installed: requirements/%.txt
	$(call VENV,$*)
	@touch $@

test-mcp-clients: setup $(MCP_STAMPS) ## MCP clients of others that make test has no room for
	@MCP_1=$(CURDIR)/.venv-mcp-1 FASTMCP=$(CURDIR)/.venv-fastmcp $(BIN)/python -m pytest tests/mcp_clients -p no:cacheprovider

test-helm: setup ## The chart by helm 3 and by helm-docs, which are built once, in minutes
	@$(BIN)/python -m pytest tests/helm -p no:cacheprovider

demo-kubernetes: setup ## The demo on a real Kubernetes, left running, with the commands to look around
	@hack/demo-kubernetes

$(BENCH_STAMP): requirements/bench.txt
	@echo "setting up .venv-bench, for what the benchmarks compare with ..."
	$(call VENV,bench)
	@touch $@

bench: setup $(BENCH_STAMP) ## Every benchmark, each against its baseline in the same run
	@$(BIN)/python -m tests.bench

scale: setup ## 200 pools and 1,000 capsules of a simulated cluster at a real API server, 10,000 workers at two replicas: what each costs
	@$(BIN)/python -m tests.scale

soak: setup ## A storm of faults at full load for 20 minutes, then the accounts (SOAK_SECONDS, SOAK_SEED); 60 seconds of it are in `make test`
	@$(BIN)/python -m tests.soak

mcp-storm: setup ## 200 MCP clients on two gateways for two minutes (MCP_STORM_SECONDS) while workers die; some of it is in `make test`
	@MCP_STORM_CLIENTS=200 MCP_STORM_SECONDS=$${MCP_STORM_SECONDS:-120} $(BIN)/python -m pytest tests/integration/gateway/test_mcp_storm.py -rP -p no:cacheprovider

hostile: setup ## What strangers and garbage cost a good client: its p99 beside each attack, as a multiple of that at rest. 7 minutes; an hour with HOSTILE_SECONDS=3600
	@SNAKEPIT_HOSTILE_SECONDS=$${HOSTILE_SECONDS:-220} SNAKEPIT_HOSTILE_SCALE=$${HOSTILE_SCALE:-1} $(BIN)/python -m pytest tests/hostile -q -rP -p no:cacheprovider

simulate: setup ## Random schedules on a virtual clock: SNAKEPIT_SEEDS (2000) of the router, or some (17:18), SNAKEPIT_OPERATOR_SEEDS (2000), and SNAKEPIT_FRESH_SEEDS (50) new ones, from SNAKEPIT_FRESH_FROM on
	@SNAKEPIT_SEEDS=$${SNAKEPIT_SEEDS:-2000} $(BIN)/python -m pytest tests/simulation

fuzz: setup ## New bytes for every parser of what others have made: FUZZ_SECONDS (600) in all, shared by its kinds, FUZZ_PROCESSES (2) targets at a time, FUZZ_ONLY="files hello"; 30 s of each kind are in `make test`
	@$(BIN)/python -m tests.fuzz

images: ## Build the project's images from its Dockerfiles (IMAGE_REPOSITORY, IMAGE_TAG)
	@$(PYTHON) hack/cluster build

$(RELEASE_STAMP): requirements/release.txt
	@echo "setting up .venv-release, for what looks over releases ..."
	$(call VENV,release)
	@touch $@

sbom: wheels images $(RELEASE_STAMP) ## An SBOM (CycloneDX) beside each wheel in dist/, and of each image in dist/images/; licences are checked (IMAGE_REPOSITORY, IMAGE_TAG)
	@.venv-release/bin/python hack/sbom.py wheels dist
	@.venv-release/bin/python hack/sbom.py images dist/images

release: setup $(BUILD_STAMP) $(RELEASE_STAMP) ## What is committed, in dist/: wheels, images and chart (OCI), SBOMs, signatures; twice the same bytes (root; COSIGN_KEY, PYTHON_IMAGE)
	@.venv-release/bin/python hack/release dist

test-release: release ## dist/ is made again elsewhere and compared, checked by its signatures, carried to a registry, and installed from there (root)
	@hack/test-release

audit: $(RELEASE_STAMP) ## Known vulnerabilities of every Python package in images and wheels (AUDIT="-s osv": whom to ask; AUDIT_DATABASE=folder: a checkout of github.com/pypa/advisory-database)
	@.venv-release/bin/python hack/audit.py $(if $(AUDIT_DATABASE),--database $(AUDIT_DATABASE)) $(AUDIT)

cluster-up: ## Start the two-node Kubernetes of hack/cluster
	@$(PYTHON) hack/cluster up

cluster-down: ## End it, and remove everything that it left
	@$(PYTHON) hack/cluster down

lint: setup ## Style, types, architecture, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy sdk/src worker-image/src agent/src control-plane/src operator/src gateway/src local/src
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/buf lint proto
	@$(BIN)/python hack/protos.py --breaking
	@$(BIN)/python hack/protos.py --check
	@$(BIN)/python hack/crds.py --check
	@$(BIN)/python hack/docs.py --check

protos: setup ## Generate the stubs of proto/
	@$(BIN)/python hack/protos.py

protos-release: setup ## Keep today's proto/ as that of a release, which later ones must not break
	@$(BIN)/python hack/protos.py --release

crds: setup ## Generate crds/ from snakepit.spec
	@$(BIN)/python hack/crds.py

PIN := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements"

requirements: ## Pin requirements/*.txt anew, with hashes (needs uv)
	@cd requirements && for set in worker digits cli agent control-plane operator gateway dev bench build release docs mcp-1 fastmcp; do \
	  $(PIN) $$set.in -o $$set.txt || exit 1; done
	@for set in examples/*/requirements.in; do $(PIN) -c requirements/dev.txt $$set -o $${set%.in}.txt || exit 1; done

docs: setup ## Generate references and pictures, check what the documents point at, and make the site
	@$(BIN)/python hack/docs.py
	@$(MAKE) --no-print-directory site

$(DOCS_STAMP): requirements/docs.txt hack/mermaid.py
	@echo "setting up .venv-docs, for what makes the site ..."
	$(call VENV,docs)
	@.venv-docs/bin/python hack/mermaid.py .venv-docs/mermaid.min.js
	@touch $@

site: $(DOCS_STAMP) ## Make the site out of docs/, in site/: a warning is an error
	@$(MKDOCS) build -q
	@echo "the site is in site/; python3 -m http.server --bind 127.0.0.1 -d site shows it at http://127.0.0.1:8000"

pictures: setup ## Take the pictures of the console that docs/console.md shows, in a browser (chromium)
	@SNAKEPIT_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/integration/gateway/test_console_in_a_browser.py

recording: setup ## Record `make demo` on a terminal: docs/images/demo.cast, and the moving picture of it that README shows
	@$(BIN)/python hack/recording

clean: ## Remove what the other targets made
	@rm -rf .venv .venv-build .venv-bench .venv-release .venv-docs .venv-mcp-1 .venv-fastmcp .state .mypy_cache .ruff_cache .pytest_cache build dist .dist.unfinished site

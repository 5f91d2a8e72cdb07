# The project's commands. Each sets up what it needs: a virtual environment in .venv, and on a fresh
# Debian the packages that make one.

SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.ready
DATA ?= ./imserver-data
SEEDS ?= 2000
FIRST ?= 0
MAKEFLAGS += --no-print-directory

# Servers that are started by the hundred need not compile the same files each, whatever a shell is set to.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: audit help run demo cluster roll docker-check test test-cluster set-up-tests check docs bench bench-quick bench-cluster bench-setup simulate chaos chaos-cluster cluster-mutants contend move pressure fuzz fuzz-http autobahn deflate-cases clean files storm FORCE
.DEFAULT_GOAL := help

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

run: $(READY) ## set up, then start a server and a small fleet of robots that talk; Ctrl-C ends it
	@exec $(BIN)/python tools/foreground.py $(BIN)/imserver demo --data $(DATA)

demo: run ## the same

cluster: $(READY) ## set up, then three nodes on MongoDB and Redis behind a load balancer, and robots on them
	@tools/set_up_cluster.sh
	@exec $(BIN)/python tools/foreground.py $(BIN)/python -m tools.cluster

ROUNDS ?= 3
roll: $(READY) ## restart all nodes of a cluster under load, ROUNDS=3 times: no send may fail; a minute and more
	@tools/set_up_cluster.sh
	@exec $(BIN)/python -m tests.rolling --rounds $(ROUNDS)

docker-check: $(READY) ## do the steps of docker/Dockerfile without Docker, start what they make, and ask it
	@exec $(BIN)/python -m tests.docker

WORKERS ?= 3
test: set-up-tests ## set up, then run every test, in WORKERS=3 processes: there is time between waiting and waiting
	@$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder

test-cluster: set-up-tests ## run the scenarios of tests/e2e on three nodes: a few minutes
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder --cluster tests/e2e

set-up-tests: $(READY)
	@tools/set_up_tests.sh

CHECKS := lint format types tiers docs house security
.PHONY: $(addprefix check-,$(CHECKS))

check: $(READY) ## set up, then run every static check
	@$(MAKE) --keep-going $(addprefix check-,$(filter-out $(WITHOUT),$(CHECKS)))

check-lint: $(READY)
	@$(BIN)/ruff check --quiet . && echo "lint: ok"

check-format: $(READY)
	@$(BIN)/ruff format --check --quiet . && echo "format: ok"

check-types: $(READY)
	@$(BIN)/mypy --no-error-summary && echo "types: ok"

check-tiers: $(READY)
	@$(BIN)/lint-imports --no-logo

check-docs: $(READY)
	@$(BIN)/python -m tools.write_docs --check && echo "docs: ok"

check-house: $(READY)
	@$(BIN)/python -m pytest --quiet tests/house

check-security: $(READY)
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive imserver client_sdk && echo "bandit: ok"
	@$(BIN)/python -m tools.audit

audit: check-security ## look for insecure code, and for flaws known of what is installed
	@if $(BIN)/python -c "import pip_audit" 2>/dev/null; then $(BIN)/python -m pip_audit --skip-editable; fi

docs: $(READY) ## write the generated pages of docs/
	@$(BIN)/python -m tools.write_docs

INPUTS ?= 10000000
fuzz: $(READY) ## feed all that reads bytes from outside with INPUTS=10000000 odd ones, made from SEED=0
	@exec $(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(or $(SEED),0)

EXAMPLES ?= 500
fuzz-http: $(READY) ## ask each path of the HTTP API EXAMPLES=500 odd things: no fault, nothing undocumented
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --quiet tests/e2e/http/test_description.py

autobahn: $(READY) ## run the Autobahn testsuite's own cases against the WebSocket transport
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[autobahn]'
	@exec $(BIN)/python -m tests.hostile.autobahn

deflate-cases: $(READY) ## send a thousand compressed messages of every size, after every offer: some minutes
	@DEFLATE_MESSAGES=1000 $(BIN)/python -m pytest --quiet tests/hostile/test_deflate_cases.py

simulate: $(READY) ## run simulated worlds full of faults, one a seed: SEEDS=2000 FIRST=0
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

BENCH ?=
bench: bench-setup ## measure against other servers: twenty minutes; BENCH="--set full" and more
	@exec $(BIN)/python -m bench $(BENCH)

bench-quick: bench-setup ## the same in two minutes, with few of them
	@exec $(BIN)/python -m bench --set quick $(BENCH)

bench-cluster: bench-setup ## the same for clusters of 1, 2 and 3 nodes, beside a JetStream cluster: ten minutes
	@exec $(BIN)/python -m bench --set cluster $(BENCH)

bench-setup: $(READY) ## install the servers that the bench measures against, and build its load generator
	@tools/set_up_bench.sh

storm: $(READY) ## kill a server and have ROBOTS=5000 come back at once: a minute, both cores
	@ulimit -n $$(ulimit -Hn) && $(BIN)/python -m tests.pressure.storm --robots $(or $(ROBOTS),5000)

MINUTES ?= 20
chaos: $(READY) ## break things under load for MINUTES=20 (or SECONDS=…); as root also disks and clocks
	@tools/set_up_chaos.sh
	@exec $(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),$$(( $(MINUTES) * 60 ))) --seed "$(SEED)"

chaos-cluster: $(READY) ## the same with three nodes, three mongods and Redis, as root, in network namespaces
	@tools/set_up_tests.sh
	@tools/set_up_chaos.sh
	@exec $(BIN)/python -m tests.chaos.cluster --seconds $(or $(SECONDS),$$(( $(MINUTES) * 60 ))) --seed "$(SEED)"

cluster-mutants: $(READY) ## let chaos in a cluster find out broken copies of the server: many minutes
	@exec $(BIN)/python -m tests.chaos.cluster.mutants

contend: $(READY) ## have two nodes append to one conversation at once for SECONDS=60, and judge its order
	@tools/set_up_tests.sh
	@exec $(BIN)/python -m tests.contention --seconds $(or $(SECONDS),60) $(CONTEND)

pressure: $(READY) ## press on delivery: readers that stall, floods, long backlogs; eight minutes (ONLY=name)
	@exec $(BIN)/python -m tests.pressure $(addprefix --only ,$(ONLY))

MIB ?= 200
CUTS ?= 20
files: $(READY) ## upload a video of MIB=200, killed at CUTS=20 random bytes, and watch the server's memory
	@exec $(BIN)/python -m tests.files --mib $(MIB) --cuts $(CUTS) --seed $(or $(SEED),0)

EVENTS ?= 1000000
move: $(READY) ## move a deployment of EVENTS=1000000, with files, to MongoDB and back, and compare (SEALED=1)
	@tools/set_up_cluster.sh
	@exec $(BIN)/python -m tests.moving --events $(EVENTS) $(if $(SEALED),--sealed)

clean: ## remove what the commands above made, except data
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the folder it was made in: set-up starts afresh in a copied project.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

$(READY): pyproject.toml tools/set_up.sh
	@tools/set_up.sh
	@echo "$(CURDIR)" > $@

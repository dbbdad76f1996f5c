.DEFAULT_GOAL := help
PY ?= python

.PHONY: help dev build test e2e fault soak check fuzz lock audit fix bench docs schemathesis kserve ray clean

help:  ## List these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10
	@echo 'DEBUG=1 or SANITIZE=address|thread change how build compiles.'

dev:  ## Editable install with everything the tests need
	$(PY) -m pip install -e '.[test,bench]'

build:  ## Rebuild the extensions in place
	$(PY) setup.py -q build_ext --inplace

test:  ## Unit, contract and style tests
	$(PY) -m pytest tests --ignore=tests/e2e --ignore=tests/fault --ignore=tests/golden

e2e:  ## Real server processes over HTTP, and the golden cases
	$(PY) -m pytest tests/e2e tests/golden

fault:  ## Kill, freeze and flood real processes
	$(PY) -m pytest tests/fault

soak:  ## Mixed requests, REQUESTS (100000) or for SECONDS; the same with deaths; overload: exit 1 when a promise is broken
	$(PY) -m benchmarks.soak --check --requests $(or $(REQUESTS),100000) --seconds $(or $(SECONDS),0)
	$(PY) -m benchmarks.soak --check --kill 3 --seconds $(or $(SECONDS),300)
	$(PY) -m benchmarks.overload --check

check:  ## Lint, format and types; writes nothing
	$(PY) -m pytest tests/test_style.py tests/test_layers.py tests/test_lock.py

fuzz:  ## Look for what no test names: every target, SECONDS_EACH (60) seconds each; needs clang and atheris
	PY=$(PY) tests/fuzz/run.sh

lock:  ## Make requirements.lock again from pyproject.toml; needs uv and the network
	mkdir -p build
	uv pip compile -q pyproject.toml --extra test --universal --python-version 3.10 --no-annotate --no-header -o build/tested.txt
	uv pip compile -q pyproject.toml -c build/tested.txt --universal --python-version 3.10 --generate-hashes --no-annotate -o requirements.lock

audit:  ## Known vulnerabilities of what is locked; needs the network, for pip-audit too
	$(PY) -m venv build/audit
	build/audit/bin/python -m pip install -q --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

fix:  ## Apply the formatter and the safe lint fixes
	ruff check --fix server pipelines kernels benchmarks examples tests tools setup.py
	ruff format server pipelines kernels benchmarks examples tests tools setup.py

bench:  ## Run one benchmark: make bench NAME=ring (no NAME: list them)
	@if [ -z "$(NAME)" ]; then ls benchmarks/bench_*.py | sed 's/.*bench_//; s/\.py//'; \
	else $(PY) -m benchmarks.bench_$(NAME); fi

docs:  ## Build the documentation into build/site; dead links and paths fail. REPO_URL=… links code
	$(PY) -m mkdocs build --strict

schemathesis:  ## Ask every route what its description allows and forbids, EXAMPLES (300) times each and mode
	SCHEMATHESIS_EXAMPLES=$(or $(EXAMPLES),300) SCHEMATHESIS_PHASES=examples,coverage,fuzzing \
	$(PY) -m pytest tests/contract/test_every_route.py -k schemathesis

kserve:  ## Hold deploy/kserve to the models of KServe's package; needs the network
	$(PY) -m venv build/kserve
	build/kserve/bin/python -m pip install -q --disable-pip-version-check kserve pyyaml
	build/kserve/bin/python tools/check_kserve.py deploy/kserve

ray:  ## deploy/ray on a local cluster of two nodes, one of which dies; needs the extra ray
	$(PY) -m pytest tests/e2e/test_ray.py

clean:  ## Remove build products
	rm -rf build *.egg-info kernels/*.so

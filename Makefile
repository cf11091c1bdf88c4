# Each target sets itself up from nothing: Python 3.11, pip and make are all it takes.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.ready
DEMO ?= demo
# Stands on .venv: its torch, and beside it what foundation models need.
FOUNDATION := .venv-foundation
export MLFLOW_DISABLE_TELEMETRY = true
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint slow truth wheel pages lock sbom clean help cases slurm server simulate survive night foundation

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(SETUP)  ## make synthetic cohorts of several hospitals and do the whole job on them
	$(BIN)/offsite demo pathology --output $(DEMO)/pathology
	$(BIN)/offsite demo retina --output $(DEMO)/retina

test: $(SETUP) lint  ## style, types, layers and all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(SETUP)  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

slow: $(SETUP)  ## statistical truth, kills at random moments, large inputs: about an hour
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --timeout 1800

truth: $(SETUP)  ## what the statistics promise against simulated truth: the tables of docs/evaluation/
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evaluation_extremes.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evaluation_alarms.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evaluation_next_hospital.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evaluation_intervals.py

wheel: $(SETUP)  ## build, install beside packages of the same names as ours, run the demo's first stage
	OFFSITE_WHEEL=1 $(BIN)/pytest tests/packaging/test_wheel.py --timeout 1800

slurm: $(SETUP)  ## the workflow on a real SLURM on this machine (as root: installs and starts one)
	OFFSITE_SLURM=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/workflows/pipeline/test_on_slurm.py --timeout 590

server: $(SETUP)  ## the workflow with a real MLflow server on PostgreSQL (as root: installs it)
	OFFSITE_SERVER=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/workflows/pipeline/test_on_server.py

foundation: $(SETUP)  ## every foundation model with tiny weights of its architecture, in an environment of its own
	test -x $(FOUNDATION)/bin/python || $(PYTHON) -m venv $(FOUNDATION)
	$(FOUNDATION)/bin/python -m pip install -q --no-deps --require-hashes -r requirements-foundation.lock
	@base=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  own=$$($(FOUNDATION)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  echo "import site; site.addsitedir('$$base')" > $$own/base.pth
	OMP_NUM_THREADS=1 $(FOUNDATION)/bin/python -m pytest \
	  tests/pathology/tile_encoders/test_foundation.py tests/retina/networks/test_backbones.py

simulate: $(SETUP)  ## ten thousand simulated slides under the workflow, and its overhead on 200 real ones
	$(BIN)/python benchmarks/workflow_scale.py simulate --slides 10000
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/workflow_scale.py compare --slides 200

cases: $(SETUP)  ## small inputs that failed once, where the optional folder is there (OFFSITE_CASES)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/workflows/cases -q -s --timeout 900

survive: $(SETUP)  ## kills, a full disk, damaged files, a jumping clock: the same result each time
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/workflows/pipeline/test_workflow_survival.py --timeout 900

night: $(SETUP)  ## a thousand files, sixty of them bad, some deadly: a row each, and files per second
	OFFSITE_NIGHT=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/workflows/predict/test_night.py -q -s

# All but torch by its hash; torch then finds its needs there, or brings those of a CUDA build.
LOCKS := requirements.lock requirements-dev.lock requirements-torch.lock
$(SETUP): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "offsite needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --no-deps --require-hashes \
	  -r requirements.lock -r requirements-dev.lock
	$(BIN)/python -m pip install -q -r requirements-torch.lock
	$(BIN)/python -m pip install -q --no-deps -e .
	@$(BIN)/python -c 'from offsite.training.trunk.weights import trunk_state; trunk_state()'
	@touch $@

pages: $(SETUP)  ## write what is made from the code: settings, their schema, pictures of the rooms
	$(BIN)/offsite workflow settings > docs/settings.md
	$(BIN)/offsite workflow schema > workflows/pipeline/schemas/configuration.schema.json
	$(BIN)/python docs/architecture_picture.py
	$(BIN)/python docs/tables_page.py > /dev/null

lock: $(SETUP)  ## pin the newest versions that fit pyproject.toml, with their hashes
	$(BIN)/python .ci/lock.py

sbom: $(SETUP)  ## what is installed, with licences: sbom.json (CycloneDX), made offline
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file sbom.json

clean:  ## remove the environment, the demo and all caches
	rm -rf .venv $(FOUNDATION) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

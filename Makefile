# Two commands do everything: `make demo` and `make test`. Both create .venv on first use and need no GPU and no account.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO_FOLDER ?= demo-workspace
TRY_PYTHON ?= $(PYTHON)
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-fast test-spark test-trackio check lint campaign fuzz bench docs wheel try-wheel pretrain-tiny clean
SECONDS_OF_CAMPAIGN ?= 600

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,c2pa,sample,diffusion,serve,postgres,ray]'
	touch $@

demo: $(VENV)/.installed  ## the whole loop on the sample catalog; ends with the path of the report
	$(BIN)/clickscape demo --out $(DEMO_FOLDER)

test: lint  ## what CI runs
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.installed  ## what one runs before a commit: all but what takes long
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-spark:  ## the click log on a local PySpark session, in an environment of its own; needs Java 17
	test -x .venv-spark/bin/python || $(PYTHON) -m venv .venv-spark
	.venv-spark/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		'ibis-framework[duckdb]' 'sqlglot<30.18' pyspark numpy pillow pydantic pytest pyarrow
	PYTHONPATH=src .venv-spark/bin/python -m pytest -m spark tests/clicks/test_engines.py

test-trackio:  ## what trackio is told, in an environment of its own: its pillow is older than ours
	test -x .venv-trackio/bin/python || $(PYTHON) -m venv .venv-trackio
	.venv-trackio/bin/python -m pip install --quiet --disable-pip-version-check \
		trackio numpy pillow pydantic pytest pyarrow pyyaml
	PYTHONPATH=src .venv-trackio/bin/python -m pytest tests/test_tracking.py

check: test  ## before every commit

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

campaign: $(VENV)/.installed  ## hostile and odd inputs on the command line: how many worked, were refused in one line, or failed
	$(BIN)/python scripts/campaign.py --seconds $(SECONDS_OF_CAMPAIGN)

fuzz: $(VENV)/.installed  ## the readers under coverage-guided bytes, each for SECONDS_OF_CAMPAIGN; for the night
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	for target in feed log settings photo manifest; do \
		$(BIN)/python scripts/fuzz.py $$target --seconds $(SECONDS_OF_CAMPAIGN) || exit 1; done

bench: $(VENV)/.installed  ## every benchmark but those that need a peer, a GPU or people; each prints a table and appends one JSON row to benchmarks/results/
	for file in $(filter-out benchmarks/grpo.py benchmarks/backbone_step.py benchmarks/publishable.py,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python $$file || exit 1; done

docs: $(VENV)/.installed  ## the reference from the code, the gallery of what the studio draws, and the site in build/site
	$(BIN)/python scripts/build_gallery.py
	$(BIN)/mkdocs build --quiet

wheel: $(VENV)/.installed  ## dist/: the wheel and the source archive of this version
	$(BIN)/python -m hatchling build -d dist

try-wheel: $(VENV)/.installed  ## installs the wheel from the index as a stranger would, and makes an ad; TRY_PYTHON=python3.13 takes that Python
	$(BIN)/python scripts/try_wheel.py --python $(TRY_PYTHON)

pretrain-tiny: $(VENV)/.installed  ## re-creates the shipped model (tens of minutes) and prints how close it came
	$(BIN)/python scripts/pretrain_tiny.py

clean:
	rm -rf $(VENV) .venv-spark .venv-trackio build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

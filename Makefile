# Two commands: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint lava peers bench clean

demo: .venv/demo.ready lava
	$(BIN)/python examples/smnist/demo.py

# One thread per process, since there is a process for every core: torch's threads wait by spinning.
test: .venv/dev.ready lava
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests

lint: .venv/dev.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lava: .venv/demo.ready
	$(BIN)/neurodeploy doctor --install-lava

# Other people's programs that tests/peers compares with; without them those tests are skipped.
peers: .venv/dev.ready
	$(PIP) --no-deps -r tests/peers/requirements.txt

# The simulator beside others, which stand in an environment of their own on top of .venv.
bench: .venv-peers/ready
	.venv-peers/bin/python benchmarks/simulate.py

.venv-peers/ready: .venv/demo.ready benchmarks/requirements.txt
	$(BIN)/python -m venv .venv-peers
	.venv-peers/bin/python benchmarks/on_top.py $(BIN)/python
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements.txt
	touch $@

.venv/python.ready:
	$(PYTHON) -c 'import sys; sys.exit("neurodeploy needs Python 3.10 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv .venv
	touch $@

.venv/demo.ready: .venv/python.ready pyproject.toml constraints.txt
	@echo "setting up .venv (torch, numba; a few minutes the first time)"
	$(PIP) -e '.[torch,report]'
	touch $@

.venv/dev.ready: .venv/demo.ready
	@echo "setting up the tools for tests"
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf .venv out build dist

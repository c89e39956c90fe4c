PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: recorded demo dist site test agreement coverage goldens gauntlet lint smoke soak bench figures field optimizers attacks identify vectors clean

demo: $(VENV)/installed-run  ## the paper's experiment at full length
	$(BIN)/amsgrad-exp compare

test: $(VENV)/browser  ## the test suite
	$(BIN)/pytest

agreement: $(VENV)/installed-dev  ## every optimizer against an independent implementation, as a table
	$(BIN)/python -m tests.agreement

goldens: $(VENV)/installed-dev  ## compare what commands write with what version 0.2.0 wrote; takes minutes
	$(BIN)/python -m tests.goldens

coverage: $(VENV)/installed-dev  ## which optimizers of torch.optim and pytorch_optimizer run, as a table
	$(BIN)/python -m tests.coverage

gauntlet: $(VENV)/installed-run  ## every optimizer on every problem at full length, next to its published claim
	$(BIN)/amsgrad-exp gauntlet

lint: $(VENV)/installed-dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

smoke: $(VENV)/installed-run  ## a short run with checked verdicts; takes seconds
	$(BIN)/amsgrad-exp compare --config configs/smoke.yaml --expect adam=worst --expect amsgrad=optimum
	$(BIN)/amsgrad-exp run --config configs/smoke.yaml --optimizer amsgrad --engine torch --steps 2000
	$(BIN)/amsgrad-exp verify last

soak: $(VENV)/installed-dev  ## many more random kills, command lines and files than in the test suite
	AMSGRAD_EXP_KILLS=300 $(BIN)/pytest tests/test_kills.py tests/test_sweep_processes.py tests/test_fuzz.py

bench: $(VENV)/installed-bench  ## speed compared with other programs, side by side in one run
	$(BIN)/python -m benchmarks

recorded: $(VENV)/installed-dev $(VENV)/installed-bench  ## every optimizer class of torch.optim and pytorch_optimizer: is it compiled?
	$(BIN)/python -m benchmarks.recorded

figures: $(VENV)/installed-run  ## the figures of the README
	$(BIN)/python docs/figures.py

field: $(VENV)/installed-run  ## docs/field.md, from a run of the gauntlet and of published experiments
	$(BIN)/python docs/field.py

optimizers: $(VENV)/installed-run  ## docs/optimizers.md, the classes for PyTorch programs
	$(BIN)/python docs/optimizers.py

attacks: $(VENV)/installed-run  ## the table of docs/attack.md: every optimizer attacked, half an hour
	$(BIN)/python docs/attacks.py

identify: $(VENV)/installed-dev $(VENV)/installed-bench  ## the table of docs/identify.md: what libraries' optimizers are; minutes
	$(BIN)/python docs/identified.py

vectors: $(VENV)/installed-run  ## docs/vectors/: test vectors of every rule in every form
	$(BIN)/python docs/vectors.py

site: $(VENV)/installed-dev  ## docs/site/, pages of the experiments for any static host; minutes
	$(BIN)/python docs/site.py

dist: $(VENV)/installed-dev  ## the wheel and the source archive, and the wheel tried in an empty environment
	rm -rf dist build
	$(BIN)/python -m build --quiet
	empty=$$(mktemp -d) && trap 'rm -rf "$$empty"' EXIT && \
	  $(PYTHON) -m venv $$empty/venv && \
	  $$empty/venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl && \
	  cd $$empty && venv/bin/amsgrad-exp compare --expect adam=worst --expect amsgrad=optimum

clean:
	rm -rf $(VENV) build dist *.egg-info

# Pages are tested in a browser; where one is missing and continuous integration can have it, it is installed.
$(VENV)/browser: $(VENV)/installed-dev
	@$(BIN)/python -m tests.browser || test -z "$$CI" || \
	  DEBIAN_FRONTEND=noninteractive timeout 200 sh -c \
	  'apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium' >/dev/null 2>&1 || \
	  echo "no browser can be had: the tests that need one are skipped"
	touch $@

$(VENV)/pip:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed-run: $(VENV)/pip pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev $(VENV)/installed-bench: $(VENV)/installed-%: $(VENV)/installed-run
	$(INSTALL) --editable '.[$*]'
	touch $@

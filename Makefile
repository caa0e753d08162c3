# Every target first makes .venv from requirements.lock; nothing else is needed.
VENV := .venv
PYTHON ?= python3
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro unlocked test bench docs consistent full setup clean
repro: $(READY) unlocked
	dvc repro

# A kill while DVC notes who reads and writes leaves this file empty, and every later run of DVC fails at it.
LOCKS := .dvc/tmp/rwlock
unlocked:
	@if [ -f $(LOCKS) ] && [ ! -s $(LOCKS) ]; then rm $(LOCKS) && echo "removed $(LOCKS), which a kill had left empty"; fi

test: $(READY)
	ruff check .
	mypy
	pytest

# A quarter of an hour on a quiet machine; BENCH=sweep runs one of them, BENCH=whole_study the whole study.
bench: $(READY)
	$(VENV)/bin/python -m pip install --quiet --no-build-isolation --constraint requirements.lock --editable '.[bench]'
	$(VENV)/bin/python benchmarks/run.py $(BENCH)

# What pages and templates take from results and code: tables of README.md and docs/, templates of dvc plots.
docs: $(READY)
	env PYTHONPATH=src python -m study.stages.docs
	python benchmarks/run.py pages
	env PYTHONPATH=src python -m study.plotting.templates
	env PYTHONPATH=src:tests python tests/architecture_table.py

# Params, deps, dvc.lock, metrics and plots agree: a repro would run nothing.
consistent: $(READY)
	CI=true dvc repro --dry --allow-missing > $(VENV)/dry.log || { cat $(VENV)/dry.log; exit 1; }
	! grep 'Running stage' $(VENV)/dry.log

# The full study: hours. DVC skips what is finished; a stage that was stopped continues from its checkpoint.
# NAME=trial PARTS="mlp_sweep gpt2_pretrain@wd_0-0" records some of it apart. Back to the committed study: docs/recorded-runs.md.
STUDY := full
NAME := full-cpu
PARTS := mlp_sweep init_comparison gpt2_pretrain
ARMS = $$(python -c 'import yaml; print(",".join(yaml.safe_load(open("params.yaml"))["gpt2_arms"]))')
full: $(READY)
	dvc exp run -S study=$(STUDY) -S "gpt2.arms=[$(ARMS)]" $(PARTS)
	env PYTHONPATH=src python -m study.stages.record $(NAME)

setup: $(READY)

# The mark .ready comes last: a folder without it is what a set-up left that did not end.
HELP := expected Python 3.11 or newer: name one, as in: make PYTHON=python3.12
LOG := $(VENV)/setup.log
INSTALL := $(VENV)/bin/python -m pip install --quiet
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "error: $(PYTHON): not found: $(HELP)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1): $(HELP)" >&2; exit 1; }
	@if [ -e $(VENV) ] && [ ! -e $(READY) ]; then \
	  echo "removing $(VENV): it has no $(READY), so its set-up did not end"; rm -rf $(VENV); fi
	$(PYTHON) -m venv $(VENV)
	@echo "installing requirements.lock: minutes, where nothing is downloaded yet"
	@$(INSTALL) --requirement requirements.lock > $(LOG) 2>&1 && \
	  $(INSTALL) --no-deps --no-build-isolation --editable . >> $(LOG) 2>&1 || \
	  { echo "error: requirements.lock cannot be installed ($$(grep -m 1 ERROR $(LOG))): expected a package" \
	    "index that can be reached; $(LOG) says more" >&2; exit 1; }
	$(VENV)/bin/python -m study.plotting.page
	@touch $(READY)
	@echo "$(VENV) is ready: source $(VENV)/bin/activate puts its dvc and python first"

clean:
	rm -rf $(VENV)

# Every target first makes .venv from requirements.lock; nothing else is needed.
VENV := .venv
PYTHON ?= python3
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro test bench docs consistent full setup clean
repro: $(READY)
	dvc repro

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

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -m study.plotting.page
	touch $(READY)

clean:
	rm -rf $(VENV)

# Every target first makes .venv from requirements.lock; nothing else is needed.
VENV := .venv
PYTHON ?= python3
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro test bench consistent full setup clean
repro: $(READY)
	dvc repro

test: $(READY)
	ruff check .
	mypy
	pytest

# A quarter of an hour on a quiet machine; "make bench BENCH=sweep" runs one of them, BENCH=study the whole study.
bench: $(READY)
	$(VENV)/bin/python -m pip install --quiet --no-build-isolation --constraint requirements.lock --editable '.[bench]'
	$(VENV)/bin/python benchmarks/run.py $(BENCH)

# Params, deps, dvc.lock, metrics and plots agree: a repro would run nothing.
consistent: $(READY)
	CI=true dvc repro --dry --allow-missing > $(VENV)/dry.log || { cat $(VENV)/dry.log; exit 1; }
	! grep 'Running stage' $(VENV)/dry.log

# The recorded run: hours, in parts that are kept in .full/; PARTS="e1 e3-gpt2" runs some of them.
STUDY := full
NAME := full-cpu
full: $(READY)
	env PYTHONPATH=src python -m study.recording.full --study $(STUDY) --name $(NAME) $(PARTS)

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -m study.plotting.page
	touch $(READY)

clean:
	rm -rf $(VENV)

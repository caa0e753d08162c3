# Every target first makes .venv from requirements.lock; nothing else is needed.
VENV := .venv
PYTHON ?= python3
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro test setup clean
repro: $(READY)
	dvc repro

test: $(READY)
	ruff check .
	mypy
	pytest

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

clean:
	rm -rf $(VENV)

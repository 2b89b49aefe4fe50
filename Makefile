# `make help` lists what there is. Everything is set up on demand in .venv/ and build/.
#
#   PYTHON=python3.11   the interpreter; by default the newest of 3.11 to 3.13 that is installed
#   BUILDS="compiled"   which builds `make test` tests; by default both
#   ARGS="..."          more arguments for pytest, or for `noria lab c10k` with `make demo`
#
# `src` is always interpreted; the compiled modules of an interpreter lie in build/<tag>/lib.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

PYTHON := newest
ARGS :=
BUILDS := interpreted compiled
JOBS := $(shell nproc 2>/dev/null || echo 2)
BASE := origin/main
NORIA_BUILD := require

FOUND := $(shell scripts/find-python.sh $(PYTHON) 2>/dev/null)
TAG := $(if $(FOUND),$(shell $(FOUND) -c 'import sys; print("cp%d%d" % sys.version_info[:2])'),none)
VENV = .venv/$(TAG)
RUN = $(VENV)/bin/python
BUILD = build/$(TAG)
REPORTS = build/reports

# $(call environment,EXTRAS): one virtual environment per interpreter, filled as extras are needed.
define environment
@scripts/find-python.sh $(PYTHON) >/dev/null
@test -x $(RUN) || { echo "setting up $(VENV)"; $(FOUND) -m venv $(VENV); }
@$(RUN) scripts/requirements.py $1 > $@.txt
$(RUN) -m pip install --quiet --disable-pip-version-check -r $@.txt
@touch $@
endef

# The test suite on both builds; the second is tested even if the first failed.
define tests
@mkdir -p $(REPORTS); failed=; \
for name in $(BUILDS); do \
	case $$name in interpreted) path=src ;; *) path=$(BUILD)/lib ;; esac; \
	echo "== $(TAG) $$name"; \
	NORIA_TEST_BUILD=$$name PYTHONPATH=$$path \
		$(RUN) -m pytest --ignore=tests/packaging $(ARGS) \
		2>&1 | tee $(REPORTS)/$(TAG)-$$name.log || failed="$$failed $$name"; \
done; \
for name in $(BUILDS); do tail -n 1 $(REPORTS)/$(TAG)-$$name.log; done; \
test -z "$$failed" || { echo "failed on $(TAG):$$failed"; exit 1; }
endef

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) \
		| awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## ten thousand clients against one thread; sets everything up
	@$(MAKE) build NORIA_BUILD=auto
	PYTHONPATH=$(BUILD)/lib $(RUN) -m noria lab c10k $(ARGS)

.PHONY: test
test: build client $(VENV)/.adoption ## the tests on both builds, interpreted and compiled
	$(tests)

.PHONY: test-all
test-all: ## the tests on every supported Python that is installed, 3.12 compiled only
	@rm -rf $(REPORTS); failed=; tested=; missing=; \
	for version in 3.11 3.12 3.13; do \
		if python=$$(scripts/find-python.sh $$version 2>/dev/null); then \
			tested="$$tested $$version"; builds="$(BUILDS)"; \
			test $$version != 3.12 || builds=compiled; \
			$(MAKE) test PYTHON="$$python" BUILDS="$$builds" || failed="$$failed $$version"; \
		else \
			missing="$$missing $$version"; \
		fi; \
	done; \
	for log in $(REPORTS)/*.log; do \
		test ! -e "$$log" || printf '%-20s %s\n' "$$(basename "$$log" .log)" "$$(tail -n 1 "$$log")"; \
	done; \
	for version in $$missing; do echo "python$$version is not installed: not tested"; done; \
	test -n "$$tested" || { echo "no Python to test on"; exit 1; }; \
	test -z "$$failed" || { echo "failed on:$$failed"; exit 1; }

.PHONY: test-deep
test-deep: export NORIA_TEST_DEEP := 1
test-deep: build client ## the tests with the long stress tests, and test-memory
	$(tests)
	@$(MAKE) test-memory

.PHONY: test-memory
test-memory: $(VENV)/.dev ## the tests of what is compiled, under AddressSanitizer
	@status=0; \
	scripts/test-memory.sh $(RUN) $(BUILD)-asan $(REPORTS)/$(TAG)-memory $(ARGS) || status=$$?; \
	case $$status in \
		0) echo "test-memory: PASSED" ;; \
		77) echo "test-memory: NOT RUN, this cannot be done here (status 77); the line above" \
			"says what is missing" ;; \
		*) echo "test-memory: FAILED (status $$status)" ;; \
	esac; \
	exit $$status

# The Pythons that are installed; each needs both builds.
define conformance
@pythons=; for version in $2; do \
	if python=$$(scripts/find-python.sh $$version 2>/dev/null); then \
		$(MAKE) build PYTHON="$$python" && pythons="$$pythons $$python"; \
	else \
		echo "python$$version is not installed: not tested"; \
	fi; \
done; \
status=0; $(RUN) -m scripts.conformance $1 $(ARGS) $$pythons || status=$$?; \
case $$status in \
	0) echo "$@: PASSED" ;; \
	77) echo "$@: NOT RUN, this cannot be done here (status 77); the lines above say why" ;; \
	*) echo "$@: FAILED (status $$status)" ;; \
esac; \
exit $$status
endef

.PHONY: conformance
conformance: $(VENV)/.dev ## CPython's own tests of asyncio: every Python, build and engine
	$(call conformance,cpython,3.11 3.12 3.13)
	@$(MAKE) conformance-page

.PHONY: conformance-quick
conformance-quick: $(VENV)/.dev ## the newest Python's on three, the oldest's on one
	$(call conformance,cpython --quick,3.11 newest)

.PHONY: conformance-downstream
conformance-downstream: $(VENV)/.dev ## the suites of aiohttp, uvicorn, anyio and others
	$(call conformance,downstream,$(PYTHON))
	@$(MAKE) conformance-page

.PHONY: conformance-page
conformance-page: $(VENV)/.dev ## write docs/conformance.md from the results in build/conformance
	$(RUN) -m scripts.conformance report docs/conformance.md

.PHONY: test-windows
test-windows: ## the portable tests on the Windows CPython, under Wine
	@status=0; scripts/test-windows.sh $(ARGS) || status=$$?; \
	case $$status in \
		0) echo "test-windows: PASSED" ;; \
		77) echo "test-windows: NOT RUN, this cannot be done here (status 77); the line above" \
			"says what is missing" ;; \
		*) echo "test-windows: FAILED (status $$status)" ;; \
	esac; \
	exit $$status

# The verdict is in build/reports/cross.txt too. Where the compiler cannot be installed, this fails.
.PHONY: cross
cross: $(VENV)/.dev ## compile everything native for aarch64; nothing of it is run
	@mkdir -p $(REPORTS); rm -f $(REPORTS)/cross.txt; \
	$(MAKE) $(VENV)/.cross || echo "cross: pip cannot install the compiler; see above"; \
	status=0; $(RUN) scripts/cross.py $(BUILD)-aarch64 || status=$$?; \
	case $$status in \
		0) verdict="compiled for aarch64, not run" ;; \
		77) verdict="NOT DONE, this cannot be done here (status 77); the lines above say why" ;; \
		*) verdict="FAILED (status $$status)" ;; \
	esac; \
	echo "cross: $$verdict" | tee $(REPORTS)/cross.txt; \
	exit $$status

.PHONY: lint
lint: $(VENV)/.lint $(VENV)/.dev ## ruff, mypy --strict, cython-lint, codespell
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy --cache-dir build/mypy/all src tests setup.py build_ext.py scripts
	$(RUN) -m mypy --cache-dir build/mypy/$(TAG) --python-version $(TAG:cp3%=3.%) src
	$(RUN) -m mypy --cache-dir build/mypy/darwin --platform darwin src
	$(RUN) -m mypy --cache-dir build/mypy/win32 --platform win32 src
	$(RUN) -m mypy --cache-dir build/mypy/twins $(TWINS)
	find src -name '*.py[xd]' -print0 | PATH="$(CURDIR)/$(VENV)/bin:$$PATH" xargs -0 cython-lint
	$(VENV)/bin/codespell

.PHONY: tidy
tidy: $(VENV)/.dev ## layers, pairing of compiled modules, tidiness
	PYTHONPATH=src $(RUN) -m pytest --quiet tests/unit/test_layers.py \
		tests/unit/test_pxd_pairing.py tests/unit/test_tidy.py

.PHONY: format
format: $(VENV)/.lint ## let ruff do what it can
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

.PHONY: news
news: $(VENV)/.lint ## whether a change has its news fragment (BASE=origin/main)
	@if git rev-parse --quiet --verify $(BASE) >/dev/null; then \
		$(VENV)/bin/towncrier check --compare-with $(BASE); \
	else \
		echo "nothing called $(BASE) to compare with: news not checked"; \
	fi

.PHONY: release-notes
release-notes: $(VENV)/.lint ## gather the news fragments into CHANGELOG.md (VERSION=x.y.z)
	$(VENV)/bin/towncrier build --yes --version $(VERSION)

.PHONY: wheel
wheel: $(VENV)/.package $(VENV)/.dev ## source distribution and wheel, installed and tried
	rm -rf dist build/lib* build/temp* build/bdist*
	$(VENV)/bin/pyproject-build
	$(RUN) -m pytest --timeout=900 tests/packaging $(ARGS)

.PHONY: build
build: $(VENV)/.dev ## compile into build/<tag>/lib what has changed
	NORIA_BUILD=$(NORIA_BUILD) $(RUN) setup.py -q build -j $(JOBS) \
		--build-base $(BUILD) --build-lib $(BUILD)/lib --build-temp $(BUILD)/temp

.PHONY: client
client: $(VENV)/.dev ## compile the load generator, the only compiled module in src
	NORIA_BUILD=python $(RUN) setup.py -q build_ext --inplace \
		--build-lib build/client/lib --build-temp build/client/temp

.PHONY: peers
peers: $(VENV)/.peers ## install the libraries that `noria lab files` compares with

.PHONY: clean
clean: ## delete what was built
	rm -rf build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests scripts -name __pycache__ -prune -exec rm -rf {} +
	find src -name '*.so' -delete

.PHONY: distclean
distclean: clean ## delete the virtual environments too
	rm -rf .venv

# The interpreted twins, which mypy passes over in favour of their .pyi.
TWINS = $(wildcard $(patsubst %.pyi,%.py,$(wildcard src/noria/*/*.pyi)))

$(VENV)/.dev: pyproject.toml
	$(call environment,dev)

$(VENV)/.adoption: pyproject.toml
	$(call environment,dev adoption)

$(VENV)/.cross: pyproject.toml
	$(call environment,cross)

$(VENV)/.lint: pyproject.toml
	$(call environment,lint)

$(VENV)/.peers: pyproject.toml
	$(call environment,peers)

$(VENV)/.package: pyproject.toml
	$(call environment,package)

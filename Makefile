# The two commands of the README, and what continuous integration runs.
#   make demo        five minutes of training on real digits, with a report
#   make test        every test on TensorFlow, PyTorch and JAX
#   make test-minimum  the tests of the package on the oldest Keras, on one backend
#   make bench   speed and memory, beside other libraries, as JSON in runs/bench
# KERAS_BACKEND=jax make demo picks another backend for the demo.

SHELL := /bin/bash
PYTHON ?= python3
KERAS_BACKEND ?= tensorflow
DEMO_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Pinned, since PyPI's newest PyTorch for Linux may bring gigabytes of CUDA.
TORCH ?= torch==2.13.0
export TF_CPP_MIN_LOG_LEVEL := 2

PACKAGE_tensorflow := tensorflow-cpu
PACKAGE_torch := $(TORCH)
PACKAGE_jax := jax

.PHONY: demo test test-tensorflow test-torch test-jax test-minimum lint types bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-%: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet "$(PACKAGE_$*)" -e ".[demo]"
	touch $@

$(VENV)/all: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet "$(TORCH)" tensorflow-cpu jax \
		-e ".[test,lint]"
	touch $@

demo: $(VENV)/demo-$(KERAS_BACKEND)
	KERAS_BACKEND=$(KERAS_BACKEND) $(BIN)/python examples/demo.py $(DEMO_FLAGS)

test: test-tensorflow test-torch test-jax

# One thread for each of the two processes, which otherwise wait for each other.
test-tensorflow test-torch test-jax: test-%: $(VENV)/all
	@echo "== $* =="
	OMP_NUM_THREADS=1 KERAS_BACKEND=$* \
		$(BIN)/python -m pytest -n 2 --dist worksteal

# The oldest Keras that works without special cases, with backends of its time.
$(VENV)-minimum/all: pyproject.toml
	$(PYTHON) -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/python -m pip install --quiet "$(TORCH)" \
		keras==3.8.0 tensorflow-cpu==2.18.1 jax==0.5.0 jaxlib==0.5.0 \
		-e ".[test]"
	touch $@

# Warnings are shown, not errors: old packages warn about newer ones.
test-minimum: $(VENV)-minimum/all
	OMP_NUM_THREADS=1 KERAS_BACKEND=$(KERAS_BACKEND) \
		$(VENV)-minimum/bin/python -m pytest \
		-n 2 --dist worksteal -W default tests --ignore tests/examples

lint: $(VENV)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/all
	$(BIN)/mypy

# Beside other libraries where these are installed, as they are here.
$(VENV)/bench: $(VENV)/all
	$(BIN)/python -m pip install --quiet "$(TORCH)" -e ".[bench]"
	touch $@

bench: $(VENV)/bench
	for backend in tensorflow torch jax; do \
		for name in losses harmonization views boosted_views steps \
				frameworks scaling; do \
			KERAS_BACKEND=$$backend $(BIN)/python benchmarks/$$name.py \
				|| exit 1; \
		done; \
	done
	$(BIN)/python benchmarks/ood_choice.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

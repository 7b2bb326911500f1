# The two commands of the README, and what continuous integration runs.
#   make demo        some minutes of training on real digits, with a report
#   make test        every test on PyTorch; on TensorFlow and JAX the tests of
#                    what differs by backend (marked `every_backend`)
#   make test-all    every test on each of the three
#   make test-minimum  what differs by backend on the oldest Keras, on one backend
#   make test-gpu  the tests where there is a GPU, in the environment at hand:
#                those of `make test` on PyTorch and JAX
#   make wheel   builds wheel and sdist, tests the wheel from outside the source
#   make extras  that pip can install the wheel with each extra alone
#   make docs    the documentation as a site, in site/; warnings are errors
#   make notebook  makes the notebook from its script, examples/*_kaggle.py
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
# With this variable Python stores no compiled modules. Each process would compile
# PyTorch and Keras again, which takes half a minute.
unexport PYTHONDONTWRITEBYTECODE

PACKAGE_tensorflow := tensorflow-cpu
PACKAGE_torch := $(TORCH)
PACKAGE_jax := jax

# It asks for tensorflow-text, which brings all of TensorFlow beside
# tensorflow-cpu, and which backbones for images do without.
HUB ?= keras-hub==0.32.0
HUB_NEEDS := kagglehub regex rich sentencepiece tokenizers

# Python compiles the modules that it imports. pip would compile them all, which
# takes longer than the rest of an installation.
INSTALL := -m pip install --quiet --no-compile

.PHONY: environment demo test test-torch test-tensorflow test-jax test-all \
	test-all-tensorflow test-all-jax test-minimum test-gpu \
	test-gpu-torch test-gpu-jax lint types wheel extras \
	docs notebook bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo-%: $(BIN)/python pyproject.toml
	$(BIN)/python $(INSTALL) "$(PACKAGE_$*)" -e ".[demo]"
	touch $@

$(VENV)/all: $(BIN)/python pyproject.toml
	$(BIN)/python $(INSTALL) "$(TORCH)" tensorflow-cpu jax \
		-e ".[test,lint,keras-cv,notebook,onnx]" $(HUB_NEEDS)
	$(BIN)/python $(INSTALL) --no-deps $(HUB)
	touch $@

demo: $(VENV)/demo-$(KERAS_BACKEND)
	KERAS_BACKEND=$(KERAS_BACKEND) $(BIN)/python examples/demo.py $(DEMO_FLAGS)

environment: $(VENV)/all

test: test-torch test-tensorflow test-jax

test-all: test-torch test-all-tensorflow test-all-jax

# One thread for each of the two processes, which otherwise wait for each other.
# .ci/run collects the seconds.
define pytest
	@echo "== $@ =="
	@start=$$SECONDS status=0; \
	OMP_NUM_THREADS=1 KERAS_BACKEND=$(2) $(1)/bin/python \
		-m pytest -n 2 --dist worksteal $(3) || status=$$?; \
	[ -z "$$STEP_TIMES" ] || \
		echo "$$((SECONDS - start))   $@" >> "$$STEP_TIMES"; \
	exit $$status
endef

test-torch: $(VENV)/all
	$(call pytest,$(VENV),torch)

# With these flags XLA compiles faster, and the tests take less time. `test-gpu`
# does not use them.
test-jax test-all-jax: export XLA_FLAGS := \
	--xla_backend_optimization_level=0 \
	--xla_llvm_disable_expensive_passes=true

test-tensorflow test-jax: test-%: $(VENV)/all
	$(call pytest,$(VENV),$*,-m every_backend tests)

test-all-tensorflow test-all-jax: test-all-%: $(VENV)/all
	$(call pytest,$(VENV),$*)

# The oldest Keras that works without special cases, with backends of its time.
MINIMUM := $(VENV)-minimum
MINIMUM_tensorflow := tensorflow-cpu==2.18.1
MINIMUM_torch := $(TORCH)
MINIMUM_jax := jax==0.5.0 jaxlib==0.5.0
$(MINIMUM)/%: pyproject.toml
	$(PYTHON) -m venv $(MINIMUM)
	$(MINIMUM)/bin/python $(INSTALL) keras==3.8.0 $(MINIMUM_$*) \
		-e ".[test]"
	touch $@

# Warnings are shown, not errors: old packages warn about newer ones. The last
# two that are left out would take a third of the time.
MINIMUM_LEAVES_OUT := $(addprefix --ignore=tests/,examples test_devices.py \
	losses/test_finite_gradients.py)
test-minimum: $(MINIMUM)/$(KERAS_BACKEND)
	$(call pytest,$(MINIMUM),$(KERAS_BACKEND),-W default -m every_backend tests $(MINIMUM_LEAVES_OUT))

# PyTorch and JAX with CUDA are there; .[test] and TensorFlow need not be.
GPU_WORKERS ?= 8
test-gpu: test-gpu-torch test-gpu-jax

test-gpu-torch:
	KERAS_BACKEND=torch $(PYTHON) -m pytest -n $(GPU_WORKERS)

test-gpu-jax:
	KERAS_BACKEND=jax $(PYTHON) -m pytest -n $(GPU_WORKERS) \
		-m every_backend tests

lint: $(VENV)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/all
	$(BIN)/mypy

$(VENV)/docs: $(BIN)/python pyproject.toml
	$(BIN)/python $(INSTALL) -e ".[docs]"
	touch $@

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Cells that stay the same keep their ids, and outputs are left out.
notebook: $(VENV)/all
	$(BIN)/python -m jupytext --update --to ipynb examples/keras_ltssl_kaggle.py

# Archives in dist/, made from nothing but the tree, the wheel from the sdist.
WHEEL := $(VENV)-wheel
WHEEL_BACKEND ?= torch
WHEEL_TESTS := tests/packaging tests/schedules tests/initializers \
	tests/losses/test_nt_xent.py tests/losses/test_tase.py \
	tests/models/test_small_convnet.py
# The tests are those in the sdist, without the package that lies beside them.
wheel:
	rm -rf dist $(WHEEL)
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(INSTALL) build
	$(WHEEL)/bin/python -m build --outdir dist
	$(WHEEL)/bin/python $(INSTALL) \
		"$(PACKAGE_$(WHEEL_BACKEND))" dist/*.whl pytest
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	tar -xzf dist/*.tar.gz --strip-components=1 -C "$$folder" && \
	rm -r "$$folder"/keras_ltssl{,_command} && cd "$$folder" && \
	OMP_NUM_THREADS=1 KERAS_BACKEND=$(WHEEL_BACKEND) EXPECT_INSTALLED=1 \
		$(CURDIR)/$(WHEEL)/bin/python -m pytest $(WHEEL_TESTS)

# Asks the package index for everything, so it is no part of `make test`.
extras: wheel
	for extra in $$($(WHEEL)/bin/python -c "from importlib import metadata; \
			print(*metadata.metadata('keras-ltssl').get_all('Provides-Extra'))"); do \
		echo "== $$extra =="; \
		$(WHEEL)/bin/python $(INSTALL) --dry-run \
			"$$(ls dist/*.whl)[$$extra]" || exit 1; \
	done

# Beside other libraries where these are installed, as they are here.
$(VENV)/bench: $(VENV)/all
	$(BIN)/python $(INSTALL) "$(TORCH)" -e ".[bench]"
	touch $@

bench: $(VENV)/bench
	for backend in tensorflow torch jax; do \
		for name in losses harmonization views boosted_views steps \
				frameworks scaling monitoring; do \
			KERAS_BACKEND=$$backend $(BIN)/python benchmarks/$$name.py \
				|| exit 1; \
		done; \
	done
	$(BIN)/python benchmarks/ood_choice.py
	$(BIN)/python benchmarks/reading.py
	KERAS_BACKEND=torch $(BIN)/python benchmarks/probes.py

clean:
	rm -rf $(VENV) $(VENV)-wheel $(MINIMUM) dist site .pytest_cache .mypy_cache .ruff_cache

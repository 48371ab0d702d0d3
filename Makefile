# Start with `make train` or `make test`. They need python3 with venv, and nothing else.

PYTHON ?= python3
PIP_OPTIONS ?=  # options of pip, e.g. the index of PyTorch's CPU builds
BENCH ?= instant quick article best keras-tensorflow keras-torch keras-example torch-example tinygrad-example --seeds 0 1 2
RUN ?= runs/article-1
SCALE ?= memory --pictures 1000000
READ ?=  # further options of the reading benchmark
BIN := .venv/bin
# processes that run tests: one per core that this process may use, each with one thread
WORKERS = $(shell $(PYTHON) -c "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 2)")
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help train test slow soak lint types check notebook pictures bench bench-short bench-predict bench-read bench-serve bench-scale record clean

help:
	@echo "make train          train the article's network on MNIST, in a new .venv"
	@echo "make test           run the tests: five minutes on two cores"
	@echo "make slow           run the slow tests, with whole trainings: twenty minutes"
	@echo "make soak           ten minutes of load and a million damaged pictures: hours, by hand"
	@echo "make lint           run ruff"
	@echo "make types          run mypy --strict"
	@echo "make check          lint, types and test"
	@echo "make notebook       convert docs/walkthrough.md to a notebook"
	@echo "make pictures       run docs/walkthrough.md and update its pictures and outputs"
	@echo "make bench          train numerals, Keras, PyTorch and tinygrad (needs clang): hours; BENCH='...' for fewer"
	@echo "make bench-short    one epoch of the article with numerals and Keras: a minute or two"
	@echo "make bench-predict  inference of an exported run, PyTorch and Keras: RUN=runs/article-1"
	@echo "make bench-read     reading with numerals, Tesseract and RapidOCR; READ='--folder DIR' adds pictures"
	@echo "make bench-serve    requests per second of numerals serve and LitServe, on loopback"
	@echo "make bench-scale    read a million pictures on Ray: hours; SCALE='speed' or 'killed' for less"
	@echo "make record         update the README's tables from benchmarks/records"
	@echo "make clean          remove environments and caches, but no run"

train: .venv/train
	$(BIN)/numerals train

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --dist worksteal

slow: .venv/dev
	$(BIN)/pytest -m slow

soak: .venv/dev
	for seed in $$(seq 50); do $(BIN)/python -m tests.helpers.fuzz 20000 $$seed 2>/dev/null || exit 1; done
	for seed in $$(seq 50); do $(BIN)/python -m tests.helpers.fuzz 20000 $$seed pdf 2>/dev/null || exit 1; done
	$(BIN)/python -m benchmarks.serve --soak 600

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

check: lint types test

notebook: .venv/dev
	$(BIN)/jupytext --to notebook --output docs/walkthrough.ipynb docs/walkthrough.md

pictures: .venv/dev
	cd docs && ../$(BIN)/python ../tests/helpers/walkthrough.py --write
	$(BIN)/python -m docs.annotated docs/pictures/read.jpg

bench: .venv/train .venv-keras-tensorflow/done .venv-keras-torch/done .venv-tinygrad/done
	$(BIN)/python -m benchmarks.run $(BENCH) --record runs/benchmark.jsonl
	$(BIN)/python -m benchmarks.table --record runs/benchmark.jsonl

bench-short: .venv/train .venv-keras-tensorflow/done
	$(BIN)/python -m benchmarks.run article keras-tensorflow --seeds 0 --epochs 1 --record runs/benchmark-short.jsonl

bench-predict: .venv/train .venv-keras-tensorflow/done
	$(BIN)/python -m benchmarks.inference $(RUN)

bench-read: .venv/train .venv-rapidocr/done
	$(BIN)/python -m benchmarks.read --record runs/reading.jsonl $(READ)

bench-serve: .venv/dev .venv-litserve/done
	$(BIN)/python -m benchmarks.serve --peer .venv-litserve/bin/python --record runs/serving.jsonl

bench-scale: .venv/dev
	$(BIN)/python -m benchmarks.scale $(SCALE)

record: .venv/train
	$(BIN)/python -m benchmarks.table --write

clean:
	rm -rf .venv .venv-*/ .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info

# An empty file in the environment marks what is installed; it is older than the requirements when they change.
.venv/train: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[train]'
	@touch $@

.venv/dev: .venv/train
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	@touch $@

.venv-%/done: benchmarks/peers/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Two commands do everything: `make train` and `make test`. They need python3 with venv, and nothing else.

PYTHON ?= python3
PIP_OPTIONS ?=  # e.g. the index of PyTorch's CPU builds
BENCH ?= instant quick article best keras-tensorflow keras-torch keras-example torch-example tinygrad-example --seeds 0 1 2
RUN ?= runs/article-1
SCALE ?= memory --pictures 1000000
READ ?=  # further options of the reading benchmark
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help train test slow soak lint types check notebook pictures bench bench-short bench-predict bench-read bench-serve bench-scale record clean

help:
	@echo "make train     train the article's network on MNIST, in a .venv of its own"
	@echo "make test      the tests, six minutes or so on two cores"
	@echo "make slow      whole trainings and the like: twenty minutes"
	@echo "make soak      ten minutes of load, a million damaged pictures: hours, by hand"
	@echo "make lint      ruff; make types: mypy --strict; make check: both and the tests"
	@echo "make notebook  docs/walkthrough.md as a notebook"
	@echo "make pictures  docs/walkthrough.md run, its pictures and output made anew"
	@echo "make bench     our recipes beside Keras's, PyTorch's and tinygrad's programs (which needs clang): hours; BENCH='...' for fewer"
	@echo "make bench-short  one epoch of the article beside Keras's: a minute or two"
	@echo "make bench-predict  an exported run's answers beside PyTorch and Keras's predict: RUN=runs/article-1"
	@echo "make bench-read  reading beside Tesseract and RapidOCR, and how fast; READ='--folder DIR' for more"
	@echo "make bench-serve  numerals serve beside LitServe, on loopback"
	@echo "make bench-scale  a million pictures read on Ray: hours; SCALE='speed', or 'killed', for less"
	@echo "make record    the README's table from benchmarks/records"
	@echo "make clean     remove what make made, but no run"

train: .venv/train
	$(BIN)/numerals train

test: .venv/dev
	$(BIN)/pytest -m "not slow"

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

# A file in the environment says what is in it, and is made anew when the wishes change.
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

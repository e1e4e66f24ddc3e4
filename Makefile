# What newcomers and CI type. Every target works on a bare machine with Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Snakemake and the tests find the environment's tools (snakefmt's shfmt among them) on PATH.
export PATH := $(BIN):$(PATH)

.PHONY: run test lint format espnet rawnet benchmark scale demo picture clean

run: $(VENV)/.run
	snakemake --cores 4
	snakemake --report results/report.html

test: $(VENV)/.dev
	pytest

lint: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: $(VENV)/.dev
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

# What the toolkits besides SpeechBrain need.
espnet rawnet: %: $(VENV)/.%

# Speed, memory and exactness against SpeechBrain's own ways; a quarter of an hour on an idle machine.
benchmark: $(VENV)/.dev
	python tests/benchmark/run.py --output docs/benchmark-cpu.json
	python tests/benchmark/picture.py docs/benchmark-cpu.json docs/benchmark-cpu.svg

# Time and memory of every step by size, without audio and network; half an hour, 10 GB of disk.
SIZES := 10000 100000 1000000
scale: $(VENV)/.dev
	python -m tests.scale.run $(SIZES) --output docs/scale.json

# Makes the demo's speech and encoder anew; needs Debian's espeak-ng and half an hour.
demo: $(VENV)/.run
	python config/demo/make_corpus.py
	python config/demo/train_encoder.py
	python config/demo/evaluate_encoder.py config/demo/encoder config/demo/manifest/*.tsv

# Takes the README's picture of the report anew; needs Debian's chromium.
picture: run $(VENV)/.dev
	python -m tests.report.picture results/report.html docs/report.png

clean:
	rm -rf results logs benchmarks .snakemake

# A stamp per environment: installed once, and again when its requirements change.
$(VENV)/.run: envs/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run envs/requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt
	touch $@

# Without what ESPnet requires and its speaker encoders do not use, see envs/espnet.txt.
$(VENV)/.espnet $(VENV)/.rawnet: $(VENV)/.%: $(VENV)/.run envs/%.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r envs/$*.txt
	touch $@

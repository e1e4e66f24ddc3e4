# What newcomers and CI type. Every target works on a bare machine with Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Snakemake and the tests find the environment's tools (snakefmt's shfmt among them) on PATH.
export PATH := $(BIN):$(PATH)

.PHONY: run test lint format espnet rawnet m4a fuzz audio-table benchmark demo picture clean

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

# What the toolkits besides SpeechBrain need, and audio that libsndfile does not read.
espnet rawnet m4a: %: $(VENV)/.%

# Feeds every reader with what a search for bugs comes up with; an hour in all.
fuzz: $(VENV)/.dev $(VENV)/.m4a $(VENV)/.fuzz
	for target in manifest config audio files; do \
		python -m tests.fuzz.fuzz $$target --seconds 900 || exit 1; \
	done

# Reads every kind of audio, and hours of it, and prints what came out, see docs/audio.md.
audio-table: $(VENV)/.dev $(VENV)/.m4a
	python -m tests.benchmark.audio_table --hours

# Speed, memory and exactness against SpeechBrain's own ways; a quarter of an hour on an idle machine.
benchmark: $(VENV)/.dev
	python tests/benchmark/run.py --output docs/benchmark-cpu.json
	python tests/benchmark/picture.py docs/benchmark-cpu.json docs/benchmark-cpu.svg

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
$(VENV)/.espnet $(VENV)/.rawnet $(VENV)/.m4a $(VENV)/.fuzz: $(VENV)/.%: $(VENV)/.run envs/%.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r envs/$*.txt
	touch $@

# What newcomers and CI type. Every target works on a bare machine with Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
# make splits names at spaces.
ifneq ($(words $(CURDIR)),1)
$(error "$(CURDIR)" has a space in it, and make cannot work there: move the clone)
endif
BIN := $(CURDIR)/$(VENV)/bin
# Snakemake and the tests find the environment's tools (snakefmt's shfmt among them) on PATH.
export PATH := $(BIN):$(PATH)

# The toolkits besides SpeechBrain, and the detector of speech: packages that only some users need.
EXTRAS := espnet rawnet resemblyzer onnx transformers silero

.PHONY: run test soak lint format oldest extras $(EXTRAS) fuzz audio-table lock sbom audit benchmark gpu-check \
	scale demo graphs picture clean

run: $(VENV)/.run
	snakemake --cores 4
	snakemake --report results/report.html
	@echo Open results/x_vectors/demo/overview.html in a browser.

test: $(VENV)/.dev
	pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Injects faults for as long as you like: make soak ROUNDS=200 SEED=1, or MINUTES=30, or ONLY='SIG.* job'.
soak: $(VENV)/.dev
	nice python -m tests.faults.soak $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONLY),--only '$(ONLY)')

lint: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
	hadolint Containerfile
	snakefmt --check Snakefile workflow
	snakemake --lint

format: $(VENV)/.dev
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow
	git ls-files scripts/xvectors 'envs/*.txt' > workflow/package_files.txt

# Runs the demo with the oldest Snakemake that workflow/Snakefile accepts.
oldest: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/oldest \
		snakemake==$$(sed -n 's/^min_version("\(.*\)")/\1/p' workflow/Snakefile)
	rm -rf results/oldest
	PYTHONPATH=$(CURDIR)/$(VENV)/oldest python -m snakemake --cores 4 \
		--config xvector='{save_path: results/oldest}'

extras: $(EXTRAS)

$(EXTRAS): %: $(VENV)/.%

# Feeds every reader with inputs that fuzzers find; an hour in all.
fuzz: $(VENV)/.dev $(VENV)/.fuzz
	for target in manifest config audio files containers; do \
		python -m tests.fuzz.fuzz $$target --seconds 900 || exit 1; \
	done

# Reads every kind of audio, and prints what came out, see docs/audio.md.
audio-table: $(VENV)/.dev
	python -m tests.benchmark.audio_table

# Speed, memory and exactness against SpeechBrain's own ways; 45 minutes on two idle cores.
benchmark: $(VENV)/.dev
	python tests/benchmark/run.py --output docs/measurements/benchmark-cpu.json
	python tests/benchmark/picture.py docs/measurements/benchmark-cpu.json docs/measurements/benchmark-cpu.svg
	python tests/benchmark/commands.py

# Checks what only a GPU shows, a line of PASS or FAIL each; ten minutes at most on one H200.
gpu-check: $(VENV)/.dev $(VENV)/.espnet
	python tests/benchmark/gpu_check.py

# Time and memory of every step by size, without audio and network; half an hour, 10 GB of disk.
SIZES := 10000 100000 1000000
scale: $(VENV)/.dev
	python -m tests.scale.run $(SIZES)

# Makes the demo's speech and encoder again; needs Debian's espeak-ng and half an hour.
demo: $(VENV)/.run
	python config/demo/make_corpus.py
	python config/demo/train_encoder.py
	python config/demo/evaluate_encoder.py config/demo/encoder config/demo/manifest/*.tsv

# Draws the rule graph of docs/architecture.md again.
graphs: $(VENV)/.run
	snakemake --rulegraph mermaid-js | python docs/rule_graph.py docs/architecture.md

# Takes the README's picture of the report again; needs Debian's chromium.
picture: run $(VENV)/.dev
	python -m tests.report.picture results/report.html docs/report.png

clean:
	rm -rf results .snakemake

# Every package comes in the version and with a hash of its lock, and the few without a wheel are
# built with the setuptools of envs/build.lock: nothing is downloaded that a lock does not name.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation
TOOLS := $(VENV)/tools

# A stamp per environment: installed once, and again when its lock changes.
$(VENV)/.packages: envs/build.lock envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python %d.%d is too old: \
	install Python 3.11 or newer and type: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r envs/build.lock
	$(INSTALL) -r envs/requirements.lock
	touch $@

$(VENV)/.run: $(VENV)/.packages pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run envs/requirements-dev.lock
	$(INSTALL) -r envs/requirements-dev.lock
	touch $@

# Without what ESPnet requires and its speaker encoders do not use, see envs/espnet.txt.
$(EXTRAS:%=$(VENV)/.%) $(VENV)/.fuzz: $(VENV)/.%: $(VENV)/.run envs/%.lock
	$(INSTALL) --no-deps -r envs/$*.lock
	touch $@

# The tools of the locks and of the audit need other versions than the workflow: an environment of
# their own.
$(VENV)/.tools: envs/tools.lock
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r envs/tools.lock
	touch $@

# Writes the locks after a change of the pins; UPGRADE=--upgrade also updates what the pins leave open.
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(UPGRADE)

lock: $(VENV)/.tools
	$(COMPILE) envs/requirements.txt -o envs/requirements.lock
	$(COMPILE) envs/requirements-dev.txt -c envs/requirements.lock -o envs/requirements-dev.lock
	echo setuptools | $(COMPILE) - -c envs/requirements.lock -o envs/build.lock
	for extra in $(EXTRAS) fuzz; do \
		$(COMPILE) --no-deps envs/$$extra.txt -o envs/$$extra.lock || exit 1; done
	$(COMPILE) envs/tools.txt -o envs/tools.lock

# What the workflow and its toolkits run with, as CycloneDX; needs no network once the tools are there.
# RawNet3's one package is among ESPnet's.
sbom: $(VENV)/.tools
	cat envs/requirements.lock $(patsubst %,envs/%.lock,$(filter-out rawnet,$(EXTRAS))) \
		| $(TOOLS)/bin/cyclonedx-py requirements \
		--index-url pkg:pypi --pyproject pyproject.toml --output-reproducible -o - - \
		| $(TOOLS)/bin/python envs/sbom.py > envs/sbom.cdx.json

# Checks licences and known vulnerabilities of all packages; fails if the registry cannot be asked about
# one, so that silence never passes for a clean result.
audit: $(VENV)/.tools $(VENV)/.dev $(EXTRAS:%=$(VENV)/.%)
	python -m envs.licences docs/licences.md
	for lock in requirements-dev $(EXTRAS); do \
		$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r envs/$$lock.lock || exit 1; done

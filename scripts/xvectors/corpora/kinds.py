"""The kinds of corpora: a reader for each.

A reader is a function that yields the utterances (`Entry`) of the corpus at a path, in a stable
order. Its parameters are the options of that kind, in the configuration and on the command
line; `xvectors.config.settings.Corpus` says what they mean and may hold. The first line of
its docstring says what lies at the path.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xvectors.corpora.entries import Entry
from xvectors.corpora.folders import read_folder, read_libritts, read_ljspeech, read_vctk
from xvectors.corpora.lhotse import read_lhotse
from xvectors.corpora.listings import read_espnet3, read_kaldi
from xvectors.errors import CorpusError

READERS: dict[str, Callable[..., Iterator[Entry]]] = {
    "libritts": read_libritts,
    "vctk": read_vctk,
    "ljspeech": read_ljspeech,
    "kaldi": read_kaldi,
    "lhotse": read_lhotse,
    "espnet3": read_espnet3,
    "folder": read_folder,
}


def options_of(kind: str) -> dict[str, bool]:
    """Return the options of a kind of corpus, and for each whether it must be given."""
    parameters = inspect.signature(READERS[kind]).parameters
    return {name: entry.default is entry.empty for name, entry in parameters.items()}


def summary_of(kind: str) -> str:
    """Return in a sentence what a kind of corpus is."""
    return (inspect.getdoc(READERS[kind]) or "").partition(".\n")[0].rstrip(".").replace("``", "")


def corpus_problems(corpus: Mapping[str, Any], manifest: Path) -> Iterator[str]:
    """Yield ``key: what is wrong`` for all that keeps a corpus from becoming a manifest.

    Args:
        corpus: Its kind and options, as the schema wants them.
        manifest: The file to be written.

    """
    kind, options = corpus["kind"], options_of(corpus["kind"])
    for name in corpus:
        if name not in options and name != "kind":
            yield f"{name}: no option of {kind} ({', '.join(options)})"
    for name, is_needed in options.items():
        if is_needed and name not in corpus:
            yield f"{name}: {kind} needs it"
    if not Path(corpus["path"]).exists():
        yield f"path: no such file or folder: {corpus['path']}"
    elif manifest.resolve() == Path(corpus["path"]).resolve():
        yield f"path: {manifest} is the manifest to be written; it can be used without corpora"


def read_corpus(corpus: Mapping[str, Any]) -> list[Entry]:
    """Return the utterances of a corpus without problems, a map of its kind and options.

    A slash in an utt_id becomes a hyphen, as an utt_id is to be a file's name.

    Raises:
        CorpusError: The corpus is not of that kind, or damaged; the message says where.

    """
    options = {name: value for name, value in corpus.items() if name != "kind"}
    options["path"] = Path(corpus["path"]).absolute()
    try:
        entries = [
            entry._replace(utt_id=entry.utt_id.replace("/", "-"))
            for entry in READERS[corpus["kind"]](**options)
        ]
    except OSError as error:
        raise CorpusError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not entries:
        raise CorpusError(f"{corpus['path']}: no utterance found ({summary_of(corpus['kind'])})")
    return entries

"""Results to make again although the embeddings have not changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from xvectors.config.layout import Layout
from xvectors.results.cosyvoice import is_complete
from xvectors.results.espnet3 import is_linked
from xvectors.results.exporting import is_kaldi_in_place
from xvectors.results.labels import is_clean_of
from xvectors.results.tables import (
    has_sound_start,
    read_embedded,
    read_excluded,
    read_failures,
)
from xvectors.sharding.collected import is_whole

Reader = Callable[[Path], Iterator[NamedTuple]]


def stale_results(
    layout: Layout, splits: Iterable[str], exports: Iterable[str], labelled: Mapping[str, str]
) -> Iterator[Path]:
    """Yield files and folders that are damaged, incomplete or were made elsewhere.

    This reads only a few bytes of each and changes nothing. `labelled` are the manifests of the
    splits whose labels are checked.
    """
    exports = set(exports)
    for split in splits:
        tables: dict[Path, Reader] = {
            layout.table(split): read_embedded,
            layout.failures(split): read_failures,
            layout.excluded(split): read_excluded,
        }
        if any(path.exists() and not has_sound_start(read(path)) for path, read in tables.items()):
            # All three are written together.
            yield layout.table(split)
        if layout.collected(split).exists() and not is_whole(layout.collected(split)):
            yield layout.collected(split)
        kaldi = layout.kaldi(split)
        if "kaldi" in exports and kaldi.exists() and not is_kaldi_in_place(kaldi):
            yield kaldi
        cosyvoice = layout.cosyvoice(split)
        if "cosyvoice" in exports and cosyvoice.exists() and not is_complete(cosyvoice):
            yield cosyvoice
        if "espnet3" in exports and layout.espnet3(split).exists() and not is_linked(layout, split):
            yield layout.espnet3(split)
        clean = layout.clean_manifest(split)
        summary = layout.labels_summary(split)
        if split in labelled and clean.exists() and not is_clean_of(labelled[split], summary):
            yield clean

"""Reader of lhotse's Shar: cuts in JSON lines, and their audio in tars, in the same order.

The form is that of ``SharWriter`` of lhotse 1.33; lhotse itself is not needed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xvectors.corpora.containers import Tar, TarMember, read_containers
from xvectors.corpora.entries import Entry, LeftOut, read_lines
from xvectors.corpora.lhotse import check_cut, cut_utterances, not_lhotse, parse_item
from xvectors.errors import CorpusError

CUTS, RECORDING = "cuts", "recording"
# What stands in for audio, or for its description, that a cut does not have.
NO_AUDIO = ".nodata"
DESCRIPTIONS = (".json", ".nometa")


def read_shar(path: Path) -> Iterator[Entry | LeftOut]:
    """Shar of lhotse: the folder with ``cuts.*.jsonl.gz`` and ``recording.*.tar``."""
    cuts = sorted(path.glob(f"{CUTS}.*jsonl*"))
    if not cuts:
        raise CorpusError(f"{path}: no cuts.*.jsonl.gz in it")
    yield from read_containers(cuts, _read_shard)


def _read_shard(cuts: Path) -> list[Entry | LeftOut]:
    """Return the utterances of a file of cuts and of the tar beside it."""
    shard = cuts.name.removeprefix(CUTS).partition(".jsonl")[0]
    path = cuts.with_name(f"{RECORDING}{shard}.tar")
    if not path.exists():
        if path.with_name(f"{path.name}.gz").exists():
            raise CorpusError(f"{path}.gz: a compressed tar cannot be read in part; unpack it")
        raise CorpusError(f"{cuts}: {path.name} is missing beside it")
    found: list[Entry | LeftOut] = []
    with Tar(path) as tar:
        audio = {_cut_id(member): member for member in tar.members() if _is_audio(member)}
        for place, line in read_lines(cuts):
            cut = parse_item(place, line)
            try:
                found += _utterances(place, cut, audio.get(str(cut["id"])), str(path))
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise not_lhotse(place, error) from error
        if tar.problem:
            found.append(LeftOut(str(path), tar.problem))
    return found


def _is_audio(member: TarMember) -> bool:
    return not member.name.endswith((NO_AUDIO, *DESCRIPTIONS))


def _cut_id(member: TarMember) -> str:
    return member.name.rpartition(".")[0]


def _utterances(
    place: str, cut: dict[str, Any], audio: TarMember | None, path: str
) -> Iterator[Entry | LeftOut]:
    """Yield the utterances of a cut, whose audio begins and ends where the cut does."""
    if audio is None:
        yield LeftOut(place, f"a cut without audio in {Path(path).name}")
        return
    check_cut(place, cut)
    yield from cut_utterances(place, {**cut, "start": 0.0}, str(audio.place), cut["duration"])

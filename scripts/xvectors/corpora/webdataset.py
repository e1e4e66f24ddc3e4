"""Reader of WebDataset's tars: neighbours whose names begin alike are a sample."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from xvectors.audio.opening import AUDIO_SUFFIXES
from xvectors.corpora.containers import Tar, TarMember, find_containers, read_containers
from xvectors.corpora.entries import Entry, LeftOut
from xvectors.corpora.fields import Fields
from xvectors.errors import CorpusError

# The field that holds the beginning of the members' names.
KEY = "__key__"
# Members that hold one value, and the fields that they stand for.
TEXT_MEMBERS = {"txt": "text", "spk": "speaker"}


def read_webdataset(
    path: Path,
    *,
    pattern: str = "**/*.tar",
    dot: str = "first",
    id_field: str | None = None,
    speaker_field: str | None = None,
    text_field: str | None = None,
) -> Iterator[Entry | LeftOut]:
    """WebDataset: tars with audio and, beside each, ``.json``, ``.txt`` or ``.spk``."""
    fields, seen = Fields.of(id_field, speaker_field, text_field), {KEY}
    read = partial(_read_tar, dot=dot, fields=fields, seen=seen)
    yield from read_containers(find_containers(path, pattern), read)
    for name in (id_field, speaker_field, text_field):
        if name is not None and name not in seen:
            others = ", ".join(sorted(seen))
            raise CorpusError(f"{path}: no sample has a field {name!r}, only {others}")


def _read_tar(path: Path, dot: str, fields: Fields, seen: set[str]) -> list[Entry | LeftOut]:
    """Return the utterances of a tar, and add the names of their fields to `seen`."""
    found: list[Entry | LeftOut] = []
    with Tar(path) as tar:
        named = ((*_split_name(member.name, dot), member) for member in tar.members())
        for key, sample in groupby(named, key=lambda one: one[0]):
            members = {extension: member for _, extension, member in sample}
            found.append(_read_sample(tar, key, members, fields, seen))
        if tar.problem:
            found.append(LeftOut(str(path), tar.problem))
    return found


def _split_name(name: str, dot: str) -> tuple[str, str]:
    """Return a member's key and the rest of its name, in lower case, without the dot between."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".") if dot == "first" else base.rpartition(".")
    return folder + slash + stem, extension.lower()


def _read_sample(
    tar: Tar, key: str, members: dict[str, TarMember], fields: Fields, seen: set[str]
) -> Entry | LeftOut:
    audio = next(
        (one for name, one in members.items() if f".{name.rpartition('.')[2]}" in AUDIO_SUFFIXES),
        None,
    )
    place = f"{tar.path}: {key}"
    if audio is None:
        return LeftOut(place, "a sample without audio")
    values: dict[str, Any] = {KEY: key}
    try:
        for extension, name in TEXT_MEMBERS.items():
            if extension in members:
                values[name] = tar.read_text(members[extension])
        if "json" in members:
            values |= tar.read_json(members["json"])
    except CorpusError as error:
        return LeftOut(str(error), "a sample whose metadata cannot be read")
    seen.update(values)
    return fields.entry(place, str(audio.place), values, key)

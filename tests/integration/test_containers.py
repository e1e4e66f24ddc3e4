"""Runs whose audio lies in containers."""

import os
from pathlib import Path

import pytest
import torch

from tests.support.checkout import DEMO, changed
from tests.support.containers import PACKERS, pack_parquet, pack_shar, pack_tar, write_parquet
from tests.support.shards import Shards
from xvectors.errors import ShardError

pytestmark = pytest.mark.integration

ALL_PACKERS = {**PACKERS, "shar": pack_shar}


def recordings() -> list[Path]:
    """Return recordings of the demo, WAV and FLAC, of several rates."""
    return sorted((DEMO / "wav").glob("[ab]*/*_0[0-3].*"))


def write_manifest(path: Path, members: list[str]) -> None:
    pairs = zip(recordings(), members, strict=False)
    path.write_text("".join(f"{file.stem}\t{name}\t\ts\n" for file, name in pairs))


@pytest.fixture
def packed(tmp_path, demo_encoder):
    """A function that embeds the recordings as they lie in a container."""

    def embed(kind, **settings):
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "files":
            members = list(map(str, recordings()))
        else:
            members = ALL_PACKERS[kind](recordings(), folder / f"all.{kind}")
        write_manifest(folder / "train.tsv", members)
        shards = Shards(folder, demo_encoder, save_path=str(folder / "out"), **settings)
        return shards, shards.embed_all()

    return embed


@pytest.mark.parametrize(
    ("n_shards", "batch_size", "storage"),
    [(1, None, "files"), (4, None, "packed"), (1, 4, "files")],
)
def test_members_have_the_vectors_of_their_files(packed, n_shards, batch_size, storage):
    settings = {"n_shards": n_shards, "batch_size": batch_size, "storage": storage}
    files, _ = packed("files", **settings)
    expected = files.vectors()
    assert len(expected) == len(recordings()) == 8
    for kind in ALL_PACKERS:
        shards, markers = packed(kind, **settings)
        assert sum(marker["n_written"] for marker in markers) == len(expected)
        vectors = shards.vectors()
        assert vectors.keys() == expected.keys()
        for utt_id, vector in vectors.items():
            if batch_size is None:
                assert torch.equal(vector, expected[utt_id]), (kind, utt_id)
            else:
                assert torch.allclose(vector, expected[utt_id], atol=1e-5), (kind, utt_id)
        assert all(marker["n_skipped"] for marker in shards.embed_all())


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_container_that_is_replaced(packed, kind):
    shards, _ = packed(kind)
    container = shards.manifest.parent / f"all.{kind}"
    before = shards.times()
    os.utime(container, ns=(1, 1))
    (marker,) = shards.embed_all()
    assert (marker["n_written"], marker["n_skipped"]) == (0, 8)
    if kind == "tar":
        content = bytearray(container.read_bytes())
        place = shards.manifest.read_text().splitlines()[3].split("\t")[1].rpartition(":")[2]
        start = int(place.partition("+")[0])
        content[start + 3000 : start + 3010] = bytes(10)
        container.write_bytes(content)
        wanted = {recordings()[3].stem}
    else:
        others = [*recordings()[1:], recordings()[0]]
        pack_parquet(others, container)
        wanted = {path.stem for path in recordings()}
    try:
        shards.embed_all()
    except ShardError as error:
        # What was damaged is FLAC, whose checksum tells.
        assert kind == "tar"
        assert f"({recordings()[3].stem})" in str(error)
        assert set(before) - set(shards.times()) == wanted
    else:
        assert changed(before, shards.times()) == wanted


def test_bad_members_fail_alone_and_by_name(checkout):
    files = recordings()[:4]
    cut_off = pack_tar(files, checkout.corpus / "a.tar")
    tar = checkout.corpus / "a.tar"
    start, size = map(int, cut_off[2].rpartition(":")[2].split("+"))
    tar.write_bytes(tar.read_bytes()[: start + size // 2])
    rows = [{"bytes": files[0].read_bytes(), "path": None}, None]
    write_parquet(checkout.corpus / "t.parquet", {"audio": rows})
    members = [*cut_off, "t.parquet:audio[0]", "t.parquet:audio[1]", "none.ark:3"]
    lines = [f"u{number}\t{member}\t\ts\n" for number, member in enumerate(members)]
    checkout.manifest.write_text("".join(lines), encoding="utf-8")
    checkout.xvector["on_error"] = "skip"
    checkout.run_well()
    assert set(checkout.vectors()) == {"u0", "u1", "u4"}
    failed = {row[0]: row[1:] for row in checkout.rows("train.failed.tsv")[1:]}
    assert failed.keys() == {"u2", "u3", "u5", "u6"}
    assert failed["u2"][0] == cut_off[2]
    assert failed["u2"][1].startswith(f"cut off: {cut_off[2]}: the file ends ")
    assert failed["u3"][1].startswith(f"cut off: {cut_off[3]}: the file ends ")
    assert failed["u5"][1].endswith("t.parquet:audio[1]: the row is null")
    assert failed["u6"][1] == "file missing: corpus/none.ark"

    assert "Nothing to be done" in checkout.run_well()
    pack_tar(files, tar)
    checkout.run_well()
    assert set(checkout.vectors()) == {"u0", "u1", "u2", "u3", "u4"}
    assert torch.allclose(checkout.vectors()["u0"], checkout.vectors()["u4"], atol=1e-5)

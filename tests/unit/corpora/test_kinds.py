import os
from pathlib import Path
from typing import get_args

import pytest

from tests.support.corpora import (
    MAKERS,
    write,
)
from xvectors.config.settings import Corpus
from xvectors.corpora.kinds import (
    READERS,
    changed_folder,
    corpus_problems,
    options_of,
    read_corpus,
    summary_of,
)
from xvectors.errors import CorpusError


def test_every_kind_is_in_the_schema_with_its_options():
    fields = Corpus.model_fields
    assert list(get_args(fields["kind"].annotation)) == list(READERS) == list(MAKERS)
    options = {name for kind in READERS for name in options_of(kind)}
    assert options == set(fields) - {"kind"}


def test_options_and_whether_they_are_needed():
    assert options_of("vctk") == {"path": True, "microphone": False}
    assert options_of("folder") == {"path": True, "pattern": True, "speaker": False}


def test_a_kind_is_said_in_a_sentence():
    assert summary_of("ljspeech") == "LJSpeech: the folder with metadata.csv and wavs"
    assert all(summary_of(kind) and "``" not in summary_of(kind) for kind in READERS)


def test_all_that_keeps_a_corpus_from_becoming_a_manifest_is_named(tmp_path):
    manifest = tmp_path / "train.tsv"
    manifest.touch()
    wrong = {"kind": "folder", "path": str(tmp_path / "none"), "microphone": "mic1"}
    assert list(corpus_problems(wrong, manifest)) == [
        "microphone: not an option of folder (path, pattern, speaker)",
        "pattern: folder needs it",
        f"path: no such file or folder: {tmp_path / 'none'}",
    ]
    (problem,) = corpus_problems({"kind": "espnet3", "path": str(manifest)}, manifest)
    assert "is the manifest to write" in problem
    assert list(corpus_problems({"kind": "vctk", "path": str(tmp_path)}, manifest)) == []


def test_a_slash_in_an_utt_id_becomes_a_hyphen(tmp_path):
    for name in ("a/x/1.wav", "b/2.wav"):
        write(tmp_path / name, "")
    entries = read_corpus({"kind": "folder", "path": str(tmp_path), "pattern": "{speaker}/**"})
    assert [(entry.utt_id, entry.speaker_id) for entry in entries] == [("a-x-1", "a"), ("b-2", "b")]
    assert all(Path(entry.wav_path).is_absolute() for entry in entries)


def test_a_corpus_without_utterances_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"no utterance found \(LibriTTS or LibriTTS-R"):
        read_corpus({"kind": "libritts", "path": str(tmp_path)})


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("kaldi", "wav.scp", "u1 ~/a.wav\n"),
        ("kaldi", "wav.scp", "u1 $HOME/a.wav\n"),
        (
            "lhotse",
            "recordings.jsonl",
            '{"id": "u1", "duration": 1.0, "sources": '
            '[{"type": "file", "channels": [0], "source": "~/a.wav"}]}\n',
        ),
        ("nemo", "train.json", '{"audio_filepath": "~/a.wav", "duration": 1.0}\n'),
        ("espnet3", "train.tsv", "u1\t~/a.wav\ttext\ts1\n"),
    ],
)
def test_home_in_lists(tmp_path, monkeypatch, kind, name, content):
    monkeypatch.setenv("HOME", str(tmp_path / "anna"))
    (tmp_path / name).write_text(content)
    path = tmp_path if kind == "kaldi" else tmp_path / name
    (entry,) = read_corpus({"kind": kind, "path": str(path)})
    assert entry.wav_path == str(tmp_path / "anna" / "a.wav")


@pytest.mark.parametrize(("kind", "is_searched"), [("folder", True), ("kaldi", False)])
def test_only_corpora_without_a_list_are_searched_for_changed_folders(tmp_path, kind, is_searched):
    corpus, manifest = tmp_path / "corpus", tmp_path / "train.tsv"
    corpus.mkdir()
    manifest.touch()
    os.utime(manifest, ns=(1, 1))
    expected = corpus if is_searched else None
    assert changed_folder({"kind": kind, "path": str(corpus)}, manifest) == expected


@pytest.mark.parametrize("kind", ["webdataset", "folder"])
def test_a_container_that_was_written_again_has_changed(tmp_path, kind):
    corpus, manifest = tmp_path / "corpus", tmp_path / "train.tsv"
    corpus.mkdir()
    for path in (corpus / "a.tar", corpus / "b.tar", corpus / "notes.txt", manifest, corpus):
        path.touch()
        os.utime(path, ns=(1, 1))
    os.utime(corpus / "notes.txt", ns=(2, 2))
    given = {"kind": kind, "path": str(corpus)}
    assert changed_folder(given, manifest) is None
    os.utime(corpus / "b.tar", ns=(2, 2))
    assert changed_folder(given, manifest) == (corpus / "b.tar" if kind == "webdataset" else None)
    os.utime(corpus / "a.tar", ns=(1, 1))
    given["path"] += "/b.tar"
    assert changed_folder(given, manifest) == (corpus / "b.tar")


def test_a_corpus_that_is_gone_has_no_changed_folder(tmp_path):
    manifest = tmp_path / "train.tsv"
    manifest.touch()
    assert changed_folder({"kind": "vctk", "path": str(tmp_path / "none")}, manifest) is None

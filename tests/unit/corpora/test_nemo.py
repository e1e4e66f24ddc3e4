import json

import pytest

from tests.support.corpora import copy
from xvectors.audio.signal import Segment
from xvectors.corpora.entries import LeftOut
from xvectors.corpora.nemo import read_nemo
from xvectors.errors import CorpusError


def read(tmp_path, *items, **options):
    path = tmp_path / "train.json"
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return list(read_nemo(path, **options))


def test_utterances_their_names_speakers_and_seconds(tmp_path):
    one, two = read(
        tmp_path,
        {"audio_filepath": "wav/a.wav", "duration": 1.5, "text": "words", "label": "anna"},
        {"audio_filepath": "/b.wav", "utt_id": "second", "speaker": "boris"},
    )
    assert (one.utt_id, one.text, one.speaker_id, one.seconds) == ("wav/a", "words", "anna", 1.5)
    assert one.wav_path == str(tmp_path / "wav" / "a.wav")
    assert (two.utt_id, two.speaker_id, two.wav_path) == ("second", "boris", "/b.wav")
    assert (two.seconds, two.segment) == (None, None)


def test_segments_and_whole_files(tmp_path):
    copy("alba_00", tmp_path / "a.flac")
    line = {"audio_filepath": "a.flac", "label": "alba"}
    whole, part, later, wrong = read(
        tmp_path,
        line | {"offset": 0, "duration": 1000},
        line | {"offset": 0, "duration": 0.5},
        line | {"offset": 0.25, "duration": 0.5},
        line | {"offset": -1, "duration": 0.5},
    )
    assert whole.segment is None
    assert part.segment == Segment(0, 0.5)
    assert (later.utt_id, later.segment) == ("a-00000.250", Segment(0.25, 0.75))
    assert isinstance(wrong, LeftOut)


def test_another_folder_for_relative_paths(tmp_path):
    (entry,) = read(tmp_path, {"audio_filepath": "a.wav"}, root="/corpora")
    assert entry.wav_path == "/corpora/a.wav"


@pytest.mark.parametrize("item", [[], {"text": "x"}, {"audio_filepath": "a", "offset": 1}])
def test_another_line_is_a_one_line_error_with_its_place(tmp_path, item):
    with pytest.raises(CorpusError, match=r"train\.json:1: not a line of a NeMo manifest"):
        read(tmp_path, item)

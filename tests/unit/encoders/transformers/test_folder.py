import json

import pytest

from xvectors.encoders.transformers.folder import CONFIG, PREPROCESSOR, check_folder, read_folder
from xvectors.errors import EncoderError

WAVLM = {"architectures": ["WavLMForXVector"], "hidden_size": 768}
EXTRACTOR = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": False}


def write(folder, config=WAVLM, preprocessor=EXTRACTOR, weights="model.safetensors"):
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / PREPROCESSOR).write_text(json.dumps(preprocessor))
    if weights:
        (folder / weights).touch()


def test_what_the_files_say(tmp_path):
    write(tmp_path)
    found = read_folder(tmp_path)
    assert (found.architecture, found.config) == ("WavLMForXVector", WAVLM)
    assert found.weights == tmp_path / "model.safetensors"
    assert (found.sample_rate, found.is_normalized) == (16000, False)
    check_folder(tmp_path, None)


def test_what_they_leave_out_is_as_in_transformers(tmp_path):
    write(tmp_path, preprocessor={"sampling_rate": 8000}, weights="pytorch_model.bin")
    found = read_folder(tmp_path)
    assert (found.sample_rate, found.is_normalized) == (8000, True)
    assert found.weights.name == "pytorch_model.bin"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": {"architectures": ["WavLMModel"]}}, "the architecture is WavLMModel; speaker"),
        ({"config": {}}, "the architecture is not named"),
        ({"config": []}, "has no settings"),
        (
            {"preprocessor": {"feature_extractor_type": "SeamlessM4TFeatureExtractor"}},
            "SeamlessM4TFeatureExtractor is not supported: Wav2Vec2FeatureExtractor is",
        ),
        ({"preprocessor": {"sampling_rate": "16k"}}, "sampling_rate must be an integer .*'16k'"),
        ({"preprocessor": {"do_normalize": 1}}, "do_normalize true or false, not 16000 and 1"),
        ({"weights": None}, "neither model.safetensors nor pytorch_model.bin"),
    ],
)
def test_what_is_of_another_kind_is_a_one_line_error(tmp_path, files, message):
    write(tmp_path, **files)
    assert_refused(tmp_path, message)


def test_files_that_are_missing_or_damaged(tmp_path):
    write(tmp_path)
    for name in (PREPROCESSOR, CONFIG):
        (tmp_path / name).write_text("{")
        assert_refused(tmp_path, f"{name}: not JSON")
        (tmp_path / name).unlink()
        assert_refused(tmp_path, f"{name} is missing, an encoder of transformers needs it")


def assert_refused(folder, message):
    with pytest.raises(EncoderError, match=message) as error:
        check_folder(folder, None)
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) == 1

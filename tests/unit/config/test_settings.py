import pytest
from pydantic import ValidationError

from xvectors.config.resolving import resolve_config
from xvectors.config.settings import FRONTENDS, Corpus, Frontend, shown


def test_settings_are_frozen():
    settings = resolve_config({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.xvector.batch_size = 3
    with pytest.raises(ValidationError, match="frozen"):
        settings.xvector = None


def test_a_corpus_gives_the_options_that_were_given():
    corpus = Corpus(kind="libritts", path="/corpora/LibriTTS", subsets=["dev-clean"])
    assert corpus.given() == {
        "kind": "libritts",
        "path": "/corpora/LibriTTS",
        "subsets": ["dev-clean"],
    }
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Corpus(kind="vctk", path="x", microfone="mic1")


def test_long_values_are_quoted_in_part():
    assert shown("ab") == "'ab'"
    assert shown("x" * 500) == "'" + "x" * 99 + "..."


@pytest.mark.parametrize(
    ("given", "meant"),
    [("null", None), (None, None), ("cuda:1", "cuda:1")],
)
def test_null_may_be_a_word(given, meant):
    assert resolve_config({"xvector": {"device": given}}).xvector.device == meant


@pytest.mark.parametrize("given", ["[train, dev]", ["train", "dev"], ("train", "dev")])
def test_lists_may_be_text(given):
    settings = resolve_config({"xvector": {"splits": given, "manifest_paths": {"dev": "dev.tsv"}}})
    assert settings.xvector.splits == ("train", "dev")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, None),
        ("null", None),
        *FRONTENDS.items(),
        ({}, Frontend()),
        ({"window": "hamming", "normalize_samples": False}, FRONTENDS["wespeaker"]),
    ],
)
def test_a_front_end_is_a_name_or_a_map(given, meant):
    config = resolve_config({"xvector": {"frontend": given}})
    assert config.xvector.frontend == meant
    assert resolve_config(config.as_omegaconf()) == config


def test_front_ends_of_the_projects():
    kaldi = {"features": "fbank", "sample_rate": 16000, "mel_bins": 80, "subtract_mean": True}
    kaldi |= {"channels": "first"}
    mine = kaldi | {"window": "povey", "normalize_samples": True}
    assert FRONTENDS["3dspeaker"].model_dump() == FRONTENDS["cosyvoice"].model_dump() == mine
    assert FRONTENDS["wespeaker"].model_dump() == kaldi | {
        "window": "hamming",
        "normalize_samples": False,
    }
    for name in ("nemo", "raw"):
        assert FRONTENDS[name] == Frontend.model_validate({"features": name, "channels": "mean"})
        assert Frontend.model_validate({"features": name, "channels": "first"}).channels == "first"

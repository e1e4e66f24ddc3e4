import subprocess
import sys

import pytest
import yaml

from tests.support.checkout import REPOSITORY
from tests.support.corpora import (
    make_libritts,
)
from xvectors.__main__ import command_parser, main
from xvectors.config.resolving import setting_problems
from xvectors.config.settings import Corpus
from xvectors.corpora.kinds import READERS
from xvectors.corpora.make_manifest import make_manifest


@pytest.fixture
def manifest(tmp_path):
    """The manifest to be made, in a folder that is not there yet."""
    return tmp_path / "manifests" / "train.tsv"


def test_every_kind_is_documented_and_its_settings_are_options_of_the_command():
    documented = [
        line.split("|")[2].strip().strip("`")
        for line in (REPOSITORY / "docs" / "manifests.md").read_text().splitlines()
        if line.startswith("| ") and "kind:" in line
    ]
    kinds = []
    for configuration in documented:
        (corpus,) = yaml.safe_load(configuration).values()
        assert setting_problems(Corpus, corpus) == []
        kind, path, *settings = corpus.items()
        words = ["make_manifest", kind[1], path[1], "--output", "x"]
        for name, value in settings:
            words += [f"--{name}", *(value if isinstance(value, list) else [value])]
        asked = vars(command_parser().parse_args(words))
        del asked["output"], asked["run"]
        assert asked == corpus
        kinds.append(kind[1])
    assert kinds == list(READERS)


def test_the_command_makes_the_same_manifest(tmp_path, manifest):
    corpus = make_libritts(tmp_path).options
    make_manifest(corpus | {"subsets": ["test-clean", "dev-clean"]}, manifest)
    command = [sys.executable, "-m", "xvectors", "make_manifest", "libritts", corpus["path"]]
    command += ["--subsets", "test-clean", "dev-clean", "--output", str(tmp_path / "other.tsv")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "other.tsv").read_bytes() == manifest.read_bytes()
    assert "other.tsv: 3 utterances, 2 speakers" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vctk", ".", "--microphone", "mic3"], "error: microphone: must be one of mic1, mic2"),
        (
            ["folder", ".", "--pattern", "*.wav"],
            "error: pattern: '*.wav' has no {speaker}; write it where the speaker's name is",
        ),
        (["folder", ".", "--pattern", "{speaker}/{x}.wav"], "error: pattern: no such name: {x}"),
        (["libritts", "/none"], "error: path: no such file or folder: /none"),
    ],
)
def test_a_bad_command_is_a_one_line_error(arguments, message, manifest):
    with pytest.raises(SystemExit) as error:
        main(["make_manifest", *arguments, "--output", str(manifest)])
    assert str(error.value.code).startswith(message)
    assert len(str(error.value.code).splitlines()) == 1


def test_a_locale_that_is_not_utf8_is_a_one_line_error(manifest, monkeypatch):
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(SystemExit) as error:
        main(["make_manifest", "libritts", ".", "--output", str(manifest)])
    assert str(error.value.code).startswith("error: this locale's encoding is iso8859-1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder", "."], "the following arguments are required: --pattern"),
        (["ljspeech", ".", "--subsets", "a"], "unrecognized arguments: --subsets a"),
        (["timit", "."], "invalid choice: 'timit'"),
    ],
)
def test_a_command_that_does_not_fit_its_kind(arguments, message, manifest, capsys):
    with pytest.raises(SystemExit):
        main(["make_manifest", *arguments, "--output", str(manifest)])
    assert message in capsys.readouterr().err

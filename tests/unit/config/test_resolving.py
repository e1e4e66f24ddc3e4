import datetime
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from xvectors.config.resolving import require_config, resolve_config
from xvectors.config.settings import RESERVED_ENDINGS
from xvectors.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]


# The shape of the training_config.yaml of ESPnet3's TTS numerics.
ESPNET3 = """
recipe_dir: .
data_dir: ${recipe_dir}/data
exp_tag: ${self_name:}
exp_dir: ${recipe_dir}/exp/${exp_tag}
create_dataset:
  func: src.create_dataset.create_dataset
dataset:
  _target_: espnet3.components.data.data_organizer.DataOrganizer
  train:
  - name: train
    dataset:
      _target_: src.dataset.Dataset
      manifest_path: ${data_dir}/manifest/train.tsv
xvector:
  toolkit: speechbrain
  pretrained_model: speechbrain/spkrec-ecapa-voxceleb
  device: cuda:0
  spk_embed_tag: spkrec-ecapa-voxceleb
  save_path: ${data_dir}/x_vectors
  batch_size: 20
  async_mode: false
  manifest_paths:
    train: ${data_dir}/manifest/train.tsv
    valid: ${data_dir}/manifest/valid.tsv
    test: ${data_dir}/manifest/test.tsv
  splits: [train, valid, test]
parallel:
  env: local_gpu
  n_workers: 3
  options: {}
model:
  vocab_size: ${load_vocab:${exp_dir}/tokens.txt}
trainer:
  max_epochs: ${unknown_resolver:1,2}
"""


def test_an_empty_configuration_is_the_contracts_default():
    settings = resolve_config({})
    assert OmegaConf.to_container(settings.as_omegaconf()) == {
        "data_dir": "data",
        "xvector": {
            "toolkit": "speechbrain",
            "pretrained_model": "speechbrain/spkrec-ecapa-voxceleb",
            "frontend": None,
            "device": None,
            "jobs_per_gpu": 1,
            "precision": "fp32",
            "spk_embed_tag": "spkrec-ecapa-voxceleb",
            "save_path": "data/x_vectors",
            "storage": "files",
            "batch_size": 20,
            "n_shards": "auto",
            "on_error": "fail",
            "vad": None,
            "min_seconds": None,
            "max_seconds": None,
            "manifest_paths": {
                "train": "data/manifest/train.tsv",
                "valid": "data/manifest/valid.tsv",
                "test": "data/manifest/test.tsv",
            },
            "corpora": {},
            "splits": ["train", "valid", "test"],
            "speaker_means": True,
            "length_normalize": False,
            "labels": False,
            "label_false_discovery_rate": 0.05,
            "clusters": False,
            "exports": [],
            "trials": {},
            "cohort": None,
            "cohort_size": 300,
            "provider": "xvectors.XVectorProvider",
            "runner": "xvectors.XVectorRunner",
            "report": True,
            "report_utterances": 5000,
            "report_tsne": False,
            "report_audio": True,
            "async_mode": None,
        },
    }


def test_an_empty_section_has_the_defaults():
    assert resolve_config({"xvector": None}) == resolve_config({})


def test_resolving_twice_changes_nothing():
    once = resolve_config({"xvector": {"batch_size": None, "n_shards": {"train": 3}}})
    assert resolve_config(once.as_omegaconf()) == once


def test_defaults_follow_a_data_dir():
    config = resolve_config({"data_dir": "/corpora/mine"})
    assert config.xvector.save_path == "/corpora/mine/x_vectors"
    assert config.xvector.manifest_paths["valid"] == "/corpora/mine/manifest/valid.tsv"


def test_interpolation_reaches_other_sections():
    config = resolve_config({"mine": {"size": 5}, "xvector": {"batch_size": "${mine.size}"}})
    assert config.xvector.batch_size == 5


def test_an_espnet3_training_config_works_as_it_is():
    config = resolve_config(yaml.safe_load(ESPNET3))
    assert config.xvector.save_path == "./data/x_vectors"
    assert config.xvector.n_shards == 3
    assert config.xvector.async_mode is False
    assert OmegaConf.to_container(config.as_omegaconf())["model"] == {
        "vocab_size": "${load_vocab:${exp_dir}/tokens.txt}"
    }


def test_n_workers_given_as_text_are_taken():
    assert resolve_config({"parallel": {"n_workers": "3"}}).xvector.n_shards == 3


def test_n_workers_are_for_splits_that_n_shards_does_not_name():
    xvector = {"n_shards": {"train": 5}}
    config = resolve_config({"parallel": {"n_workers": 3}, "xvector": xvector})
    assert [config.xvector.given_shards(split) for split in ("train", "valid", "test")] == [5, 3, 3]


def test_the_default_tag_can_be_interpolated():
    xvector = {"pretrained_model": "a/b@r", "save_path": "x/${xvector.spk_embed_tag}"}
    assert resolve_config({"xvector": xvector}).xvector.save_path == "x/b"


@pytest.mark.parametrize("key", ["manifest_paths", "n_shards"])
def test_a_whole_map_can_be_interpolated(key):
    value = {"train": "a.tsv"} if key == "manifest_paths" else {"train": 2}
    config = resolve_config({"mine": value, "xvector": {key: "${mine}", "splits": ["train"]}})
    assert getattr(config.xvector, key)["train"] == value["train"]


def test_a_map_that_is_no_map_after_interpolation_is_refused():
    with pytest.raises(ConfigError, match=r"xvector\.manifest_paths"):
        resolve_config({"mine": "a.tsv", "xvector": {"manifest_paths": "${mine}"}})


def test_n_shards_beats_n_workers():
    config = resolve_config({"parallel": {"n_workers": 3}, "xvector": {"n_shards": 5}})
    assert config.xvector.n_shards == 5


def test_shards_of_a_split():
    config = resolve_config({"xvector": {"n_shards": {"train": 30}}})
    assert config.xvector.given_shards("train") == 30
    assert config.xvector.given_shards("valid") is None


@pytest.mark.parametrize(
    ("model", "tag"),
    [
        ("speechbrain/spkrec-ecapa-voxceleb@abc123", "spkrec-ecapa-voxceleb"),
        ("/models/mine", "mine"),
        ("/models/mine/", "mine"),
        ("config/demo/encoder", "encoder"),
        ("some/encoder@v1.0", "encoder"),
    ],
)
def test_the_tag_follows_from_the_model(model, tag, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert resolve_config({"xvector": {"pretrained_model": model}}).xvector.spk_embed_tag == tag


def test_words_from_the_command_line_are_read_as_what_they_stand_for():
    given = {"batch_size": "7", "device": "null", "n_shards": {"train": "2"}, "on_error": "skip"}
    config = resolve_config({"xvector": given})
    assert config.xvector.batch_size == 7
    assert config.xvector.device is None
    assert config.xvector.n_shards["train"] == 2
    assert resolve_config({"xvector": {"batch_size": "null"}}).xvector.batch_size is None
    assert resolve_config({"xvector": {"splits": "train"}}).xvector.splits == ("train",)


@pytest.mark.parametrize(
    ("xvector", "message"),
    [
        ({"batchsize": 5}, "xvector.batchsize: unknown key, did you mean batch_size?"),
        (
            {"frontend": "kaldi"},
            "xvector.frontend: must be one of wespeaker, 3dspeaker, cosyvoice, nemo, raw, a map "
            "of settings, or null, not 'kaldi'",
        ),
        ({"frontend": 3}, "xvector.frontend: must be one of wespeaker, 3dspeaker"),
        ({"frontend": {"windwo": 1}}, "xvector.frontend.windwo: unknown key, did you mean window?"),
        (
            {"frontend": {"window": "sine"}},
            "xvector.frontend.window: must be one of povey, hamming, hanning, not 'sine'",
        ),
        (
            {"frontend": {"mel_bins": 0}},
            "xvector.frontend.mel_bins: must be an integer from 1 on, not 0",
        ),
        (
            {"batch_size": "many"},
            "xvector.batch_size: must be an integer from 1 on, or null, not 'many'",
        ),
        ({"batch_size": 0}, "xvector.batch_size: must be an integer from 1 on, or null, not 0"),
        ({"batch_size": 2.5}, "xvector.batch_size: must be an integer from 1 on, or null, not 2.5"),
        (
            {"batch_size": True},
            "xvector.batch_size: must be an integer from 1 on, or null, not True",
        ),
        ({"vad": "webrtc"}, "xvector.vad: must be silero or null, not 'webrtc'"),
        ({"min_seconds": 0}, "must be a number of seconds above 0, or null, not 0"),
        ({"min_seconds": "short"}, "must be a number of seconds above 0, or null, not 'short'"),
        ({"max_seconds": float("inf")}, "must be a number of seconds above 0, or null, not inf"),
        (
            {"min_seconds": 2, "max_seconds": 2},
            "xvector.max_seconds: must be above min_seconds, 2, not 2",
        ),
        ({"report": "perhaps"}, "xvector.report: must be true or false, not 'perhaps'"),
        ({"data_dir": "x"}, "xvector.data_dir: belongs at the top level, outside xvector"),
        ({"exports": ["kaldi", "numpi"]}, "xvector.exports.1: must be one of kaldi, "),
        ({"exports": ["kaldi", "kaldi"]}, "xvector.exports: names kaldi twice"),
        ({"cohort_size": 1}, "xvector.cohort_size: must be an integer from 2 on, not 1"),
        ({"provider": "Mine"}, "xvector.provider: must be a class as package.module.Class"),
        ({"n_shards": 0}, "xvector.n_shards: must be an integer from 1 on"),
        ({"n_shards": {"train": "x"}}, "xvector.n_shards: must be an integer from 1 on"),
        ({"precision": "fp16"}, "xvector.precision: must be one of fp32, tf32, bf16, not 'fp16'"),
        ({"on_error": "ignore"}, "xvector.on_error: must be one of fail, skip"),
        ({"toolkit": "kaldi"}, "xvector.toolkit: must be one of speechbrain"),
        ({"device": "gpu"}, "xvector.device: must be cpu, cuda, cuda:<number> or null, not 'gpu'"),
        ({"splits": []}, "xvector.splits: must name at least one"),
        ({"splits": {"train": 1}}, "xvector.splits: must be a list, not {'train': 1}"),
        ({"splits": None}, "xvector.splits: must be a list, not null"),
        ({"exports": {"kaldi": True}}, "xvector.exports: must be a list, not {'kaldi': True}"),
        ({"trials": ["a"]}, "xvector.trials: must be a map from name to trial list, not ['a']"),
        ({"splits": ["a/b"]}, "xvector.splits.0: must be letters, digits, '_', '.' or '-'"),
        ({"splits": ["train.failed"]}, f"{', '.join(RESERVED_ENDINGS)}, not 'train.failed'"),
        ({"manifest_paths": ["a"]}, "xvector.manifest_paths: must be a map"),
        (
            {"manifest_paths": {"train": [3]}},
            "xvector.manifest_paths.train: must be a path, not [3]",
        ),
        ({"corpora": ["a"]}, "xvector.corpora: must be a map from split to corpus"),
        ({"corpora": None}, "xvector.corpora: must be a map from split to corpus"),
        ({"corpora": {"train": "x"}}, "xvector.corpora.train: must be a map of settings, not 'x'"),
        (
            {"corpora": {"a/b": {"kind": "vctk", "path": "x"}}},
            "xvector.corpora.a/b: must be letters,",
        ),
        ({"corpora": {"train": {"path": "x"}}}, "corpora.train.kind: give one"),
        ({"corpora": {"train": {"kind": "vctk"}}}, "corpora.train.path: give one"),
        (
            {"corpora": {"train": {"kind": "timit", "path": "x"}}},
            "xvector.corpora.train.kind: must be one of libritts, vctk",
        ),
        (
            {"corpora": {"train": {"kind": "vctk", "path": "x", "microfone": 1}}},
            "xvector.corpora.train.microfone: unknown key, did you mean microphone?",
        ),
        (
            {"corpora": {"train": {"kind": "vctk", "path": "x", "microphone": "x"}}},
            "xvector.corpora.train.microphone: must be one of mic1, mic2, not 'x'",
        ),
        ({"spk_embed_tag": "a/b"}, "xvector.spk_embed_tag: must be a name without slashes"),
        ({"pretrained_model": None}, "xvector.spk_embed_tag: give one"),
        ({"toolkit": "rawnet"}, "xvector.pretrained_model: give one, toolkit rawnet has no"),
        ({"save_path": "${nowhere}/x"}, "xvector.save_path: Interpolation key 'nowhere' not found"),
        ({"save_path": "${what:1}"}, "Unsupported interpolation type what"),
    ],
)
def test_a_bad_setting_is_a_one_line_error_with_file_and_key(xvector, message):
    with pytest.raises(ConfigError) as error:
        resolve_config({"xvector": xvector}, "my.yaml")
    assert str(error.value).startswith("my.yaml: ")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_all_bad_settings_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        resolve_config({"xvector": {"batch_size": 0, "nonsense": 1, "precision": "x"}})
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("section", [[], "text", 3, "${nowhere}"])
def test_a_section_that_is_no_map(section):
    with pytest.raises(ConfigError, match=r"^my.yaml: xvector: (must be a map|Interpolation key)"):
        resolve_config({"xvector": section}, "my.yaml")


@pytest.mark.parametrize("name", ["xvectro", "xvektor", "Xvecotr", "x-vector", "vector"])
def test_a_misspelt_section_is_refused(name):
    with pytest.raises(ConfigError) as error:
        resolve_config({name: {"batch_size": 3}}, "my.yaml")
    assert str(error.value) == f"my.yaml: {name}: unknown section, did you mean xvector?"


@pytest.mark.parametrize(
    "raw",
    [
        {"vectro": {"batch_size": 3}, "xvector": "${vectro}"},
        {"vektor": {"size": 3}},
        {"vektor": "x"},
        {"model": {"batch_size": 3}},
    ],
)
def test_a_section_of_the_users_own_is_not_taken_for_a_misspelt_one(raw):
    resolve_config(raw)


@pytest.mark.parametrize("name", ["config.yaml", "libritts.yaml"])
def test_the_shipped_configurations_are_valid(name):
    resolve_config(yaml.safe_load((REPOSITORY / "config" / name).read_text()), name)


def test_what_other_sections_hold_does_no_harm():
    raw = {
        "started": datetime.date(2024, 1, 1),
        "model": "${",
        "data_dir": "${unknown_resolver:1}",
        "xvector": {
            "save_path": "out",
            "manifest_paths": {"train": "a", "valid": "b", "test": "c"},
        },
    }
    assert resolve_config(raw).xvector.save_path == "out"


def test_a_section_that_is_an_interpolation():
    config = resolve_config({"mine": {"batch_size": 3}, "xvector": "${mine}"})
    assert config.xvector.batch_size == 3


@pytest.mark.parametrize("parallel", ["${unknown_resolver:1}", {"n_workers": "${nowhere}"}])
def test_workers_are_only_resolved_if_they_are_needed(parallel):
    raw = {"parallel": parallel, "xvector": {"n_shards": 3}}
    assert resolve_config(raw).xvector.n_shards == 3
    with pytest.raises(ConfigError, match=r"^my.yaml: parallel\.n_workers: "):
        resolve_config({"parallel": parallel}, "my.yaml")


def test_a_bad_number_of_workers_is_named_as_such():
    with pytest.raises(ConfigError, match=r"parallel\.n_workers: must be an integer from 1 on"):
        resolve_config({"parallel": {"n_workers": 0}})


def test_more_words_from_the_command_line():
    given = {"pretrained_model": "null", "spk_embed_tag": 2024, "batch_size": 20.0}
    xvector = resolve_config({"xvector": given}).xvector
    assert (xvector.pretrained_model, xvector.spk_embed_tag) == (None, "2024")
    assert type(xvector.batch_size) is int


@pytest.mark.parametrize(
    ("xvector", "toolkit", "model", "notes"),
    [
        ({}, "espnet", "espnet/voxcelebs12_rawnet3", 2),
        ({"toolkit": "espnet"}, "espnet", "espnet/voxcelebs12_rawnet3", 1),
        ({"pretrained_model": "my/encoder"}, "espnet", "my/encoder", 1),
        ({"toolkit": "speechbrain", "pretrained_model": "a/b"}, "speechbrain", "a/b", 0),
    ],
)
def test_a_recipes_file_alone_has_espnet3s_defaults_and_says_so(xvector, toolkit, model, notes):
    settings = resolve_config({"recipe_dir": ".", "xvector": xvector})
    assert (settings.xvector.toolkit, settings.xvector.pretrained_model) == (toolkit, model)
    assert len(settings.notes) == notes
    for note in settings.notes:
        assert "is not given, taking ESPnet3's default: espnet" in note


@pytest.mark.parametrize("toolkit", ["speechbrain", "rawnet", "resemblyzer"])
@pytest.mark.parametrize("further", [{}, {"spk_embed_tag": "tag"}])
def test_espnet3s_default_encoder_is_not_for_other_toolkits(toolkit, further):
    raw = {"recipe_dir": ".", "kit": toolkit, "xvector": {"toolkit": "${kit}", **further}}
    with pytest.raises(ConfigError) as refused:
        resolve_config(raw, "training.yaml")
    assert str(refused.value) == (
        f"training.yaml: xvector.pretrained_model: give one for toolkit {toolkit}: ESPnet3's "
        "default, espnet/voxcelebs12_rawnet3, is an encoder of espnet"
    )
    # As for any file of one's own, such as one for the encoder in Resemblyzer's package.
    raw["xvector"]["pretrained_model"] = "a/b"
    assert resolve_config(raw).xvector.toolkit == toolkit


def test_without_espnet3s_sections_there_is_nothing_to_note():
    assert resolve_config({"xvector": {}}).notes == ()
    assert resolve_config({"mine": {}}).xvector.toolkit == "speechbrain"


def test_a_dotted_key_is_refused():
    with pytest.raises(ConfigError, match=r"my.yaml: xvector.n_shards: write it as a map, xvector"):
        resolve_config({"xvector.n_shards": 2}, "my.yaml")


def test_no_configuration_at_all():
    with pytest.raises(ConfigError, match="no configuration: give --configfile"):
        require_config({})
    require_config({"xvector": {}})


@pytest.mark.parametrize(
    ("xvector", "exports"),
    [
        ({}, ("espnet3",)),
        ({"exports": []}, ()),
        ({"exports": ["kaldi"]}, ("kaldi",)),
        ({"storage": "packed"}, ()),
        ({"runner": "mine.Runner"}, ()),
    ],
)
def test_a_file_of_espnet3s_has_its_export_unless_one_is_given(xvector, exports):
    assert resolve_config({"dataset": {}, "xvector": xvector}).xvector.exports == exports
    assert resolve_config({"xvector": xvector}).xvector.exports == tuple(xvector.get("exports", ()))

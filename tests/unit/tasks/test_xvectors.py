import errno
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xvectors import (
    UtteranceError,
    XVectorProvider,
    XVectorRunner,
)
from xvectors.errors import ConfigError, TaskError
from xvectors.files.run_lock import RUN_VARIABLE
from xvectors.manifest.utterances import LazyColumn


def make_provider(corpus: Path, encoder: Path, output_dir: Path) -> XVectorProvider:
    config = {"xvector": {"pretrained_model": str(encoder), "device": "cpu"}}
    params = {"manifest_path": str(corpus / "train.tsv"), "output_dir": str(output_dir)}
    return XVectorProvider(config, params=params)


def test_the_environment_for_speaker_embeddings(corpus, demo_encoder, tmp_path):
    provider = make_provider(corpus, demo_encoder, tmp_path / "out")
    setup = pickle.loads(pickle.dumps(provider.build_worker_setup_fn()))
    for env in (provider.build_env_local(), setup()):
        assert env["toolkit"] == "speechbrain"
        assert env["device"] == "cpu"
        assert env["utterances"][1] == ("boris_01", str(corpus / "boris_01.wav"))
        assert env["speaker_to_utterances"]["alba"] == ["alba_00"]
        assert env["output_dir"] == tmp_path / "out"
        assert env["model"].sample_rate == 16000


@pytest.mark.parametrize("batch_size", [None, 4])
def test_embeddings_equal_speechbrains(corpus, demo_encoder, reference, tmp_path, batch_size):
    provider = make_provider(corpus, demo_encoder, tmp_path / "out")
    env = provider.build_env_local()
    results = XVectorRunner(provider, batch_size)([5, 0, 3, 1, 2, 4])
    assert [result["status"] for result in results] == ["ok"] * 6
    assert results[0]["utt_id"] == "hugo_04"
    for utt_id, path in env["utterances"]:
        embedding = torch.load(tmp_path / "out" / f"{utt_id}.pt", weights_only=True)
        reference.assert_same(embedding, Path(path))


def test_a_subclass_that_writes_elsewhere(corpus, demo_encoder, tmp_path):
    class ByLetter(XVectorRunner):
        @staticmethod
        def output_path(output_dir, utt_id):
            return output_dir / utt_id[0] / f"{utt_id}.pt"

    runner = ByLetter(make_provider(corpus, demo_encoder, tmp_path / "out"), batch_size=2)
    runner([0, 1])
    assert (tmp_path / "out" / "a" / "alba_00.pt").is_file()


def test_what_is_there_and_current_is_skipped(corpus, demo_encoder, tmp_path):
    runner = XVectorRunner(make_provider(corpus, demo_encoder, tmp_path / "out"))
    runner([0, 1])
    assert [result["status"] for result in runner([0, 1, 2])] == ["skipped", "skipped", "ok"]


def test_a_bad_file_fails_alone_and_with_its_reason(corpus, demo_encoder, tmp_path):
    (corpus / "boris_01.wav").write_bytes(b"rubbish")
    (corpus / "hugo_04.wav").unlink()
    provider = make_provider(corpus, demo_encoder, tmp_path / "out")
    results = XVectorRunner(provider, batch_size=6)(range(6))
    statuses = [result["status"] for result in results]
    assert statuses == ["ok", "failed", "ok", "ok", "ok", "failed"]
    assert "not audio" in results[1]["reason"]
    assert "file missing" in results[5]["reason"]
    assert len(list((tmp_path / "out").iterdir())) == 4


class Refusing:
    """An encoder that refuses one utterance."""

    def __init__(self, encoder, error: Exception) -> None:
        self.encoder, self.error = encoder, error
        self.refused = None

    def read(self, path, segment):
        signal = self.encoder.read(path, segment)
        if Path(path).stem == "boris_01":
            self.refused = signal
        return signal

    def embed(self, signals):
        if any(signal is self.refused for signal in signals):
            raise self.error
        return self.encoder.embed(signals)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(UtteranceError("no speech"), "no speech"), (IndexError("odd"), "IndexError: odd")],
)
def test_an_utterance_that_the_encoder_refuses_fails_alone(
    corpus, demo_encoder, tmp_path, error, reason
):
    env = make_provider(corpus, demo_encoder, tmp_path / "out").build_env_local()
    env["model"] = Refusing(env["model"], error)
    results = XVectorRunner.forward([0, 1, 2], **env)
    assert [result["status"] for result in results] == ["ok", "failed", "ok"]
    assert results[1] == {"utt_id": "boris_01", "status": "failed", "reason": reason}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "alba_00.pt",
        "clara_02.pt",
    ]


@pytest.mark.parametrize("error", [MemoryError(), TaskError("wrong"), OSError(errno.EIO, "I/O")])
def test_an_error_of_the_machine_or_the_task_is_no_failure_of_an_utterance(
    corpus, demo_encoder, tmp_path, error
):
    env = make_provider(corpus, demo_encoder, tmp_path / "out").build_env_local()

    def read(path, segment):
        raise error

    env["model"] = SimpleNamespace(read=read)
    with pytest.raises(type(error)):
        XVectorRunner.forward([0, 1], **env)


def test_lists_locally_and_lookups_in_a_worker(corpus, demo_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, "a run")
    provider = make_provider(corpus, demo_encoder, tmp_path / "out")
    local, worker = provider.build_env_local(), provider.build_worker_setup_fn()()
    for name in ("utterances", "segments"):
        assert type(local[name]) is list
        assert isinstance(worker[name], LazyColumn)
        assert local[name] == list(worker[name])
    assert type(local["speaker_to_utterances"]) is dict
    assert local["speaker_to_utterances"] == dict(worker["speaker_to_utterances"])


def test_a_file_that_is_too_short_for_the_encoder(corpus, demo_encoder, tmp_path):
    import soundfile  # noqa: PLC0415

    soundfile.write(corpus / "boris_01.wav", torch.zeros(600).numpy(), 16000)
    runner = XVectorRunner(make_provider(corpus, demo_encoder, tmp_path / "out"))
    (result,) = runner([1])
    assert "too short" in result["reason"]
    assert "has 0.0375 s, this encoder needs 0.0400 s" in result["reason"]


def test_mistakes_in_what_the_provider_is_given(corpus, demo_encoder, tmp_path):
    with pytest.raises(TaskError, match="params lacks manifest_path, output_dir"):
        XVectorProvider({"xvector": {}}).build_env_local()
    params = {"manifest_path": str(corpus / "train.tsv"), "output_dir": str(tmp_path)}
    none = {"xvector": {"pretrained_model": None, "spk_embed_tag": "none"}}
    with pytest.raises(ConfigError, match="needs an encoder"):
        XVectorProvider(none, params=params).build_env_local()


def test_forward_takes_the_whole_environment(corpus, demo_encoder, tmp_path):
    env = make_provider(corpus, demo_encoder, tmp_path / "out").build_env_local()
    assert XVectorRunner.forward(0, **env) == {"utt_id": "alba_00", "status": "ok"}
    assert XVectorRunner.forward([0], **env) == [{"utt_id": "alba_00", "status": "skipped"}]


def test_forward_needs_no_more_than_the_contracts_environment(corpus, demo_encoder, tmp_path):
    env = make_provider(corpus, demo_encoder, tmp_path / "out").build_env_local()
    del env["source"]
    env["output_dir"] = str(env["output_dir"])
    assert XVectorRunner.forward(0, **env)["status"] == "ok"
    assert torch.load(tmp_path / "out" / "alba_00.pt", weights_only=True).shape == (192,)

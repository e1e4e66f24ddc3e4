import pickle
from pathlib import Path

import pytest
import torch

import xvectors
from xvectors import (
    BaseRunner,
    EnvironmentProvider,
    UtteranceError,
    XVectorProvider,
    XVectorRunner,
)
from xvectors.errors import ConfigError, TaskError
from xvectors.tasks.runner import build_worker_environment

TASK_ENVIRONMENT = {"factor": 10, "unused": None}


class Provider(EnvironmentProvider):
    environment = TASK_ENVIRONMENT

    def build_env_local(self):
        return self.environment

    def build_worker_setup_fn(self):
        return lambda: TASK_ENVIRONMENT


class Runner(BaseRunner):
    @staticmethod
    def forward(idx, factor):
        return [i * factor for i in idx] if isinstance(idx, list) else idx * factor


def test_the_public_names():
    assert set(xvectors.__all__) == {
        "BaseRunner",
        "EnvironmentProvider",
        "UtteranceError",
        "XVectorProvider",
        "XVectorRunner",
        "XVectorsError",
    }


@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
def test_results_come_in_the_order_of_the_indices(batch_size):
    assert Runner(Provider({}), batch_size)([3, 1, 2]) == [30, 10, 20]
    assert Runner(Provider({}), batch_size)([]) == []


def test_forward_gets_lists_only_with_a_batch_size():
    class Echo(Runner):
        @staticmethod
        def forward(idx, **env):
            assert env == TASK_ENVIRONMENT
            return [idx] * len(idx) if isinstance(idx, list) else idx

    assert Echo(Provider({}))([0, 1, 2]) == [0, 1, 2]
    assert Echo(Provider({}), batch_size=2)([0, 1, 2]) == [[0, 1], [0, 1], [2]]


def test_the_environment_is_built_once():
    class Counting(Provider):
        n_built = 0

        def build_env_local(self):
            Counting.n_built += 1
            return TASK_ENVIRONMENT

    Runner(Counting({}), batch_size=1)(range(5))
    assert Counting.n_built == 1


def test_both_interfaces_are_abstract():
    with pytest.raises(TypeError, match="abstract"):
        EnvironmentProvider({})
    with pytest.raises(TypeError, match="abstract"):
        BaseRunner(Provider({}))


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, True, "4"])
def test_a_batch_size_below_one(batch_size):
    with pytest.raises(TaskError, match=r"batch_size is .*: give an integer from 1 on"):
        Runner(Provider({}), batch_size)


def test_a_parameter_that_the_environment_lacks_names_both_sides():
    class Wrong(Runner):
        @staticmethod
        def forward(idx, modle, factor=1):
            return idx

    with pytest.raises(TaskError) as error:
        Wrong(Provider({}))([0])
    for name in ("Wrong.forward", "modle", "Provider", "factor, unused"):
        assert name in str(error.value)


@pytest.mark.parametrize("wrong", [[1, 2, 3], None, 5, (1,)])
def test_another_number_of_results_than_indices(wrong):
    class Wrong(Runner):
        @staticmethod
        def forward(idx, factor):
            return wrong

    with pytest.raises(TaskError, match="for 2 indices: return a list with one result per index"):
        Wrong(Provider({}), batch_size=2)([0, 1])


def test_a_forward_that_is_no_static_method():
    class Wrong(Runner):
        def forward(self, idx, factor):
            return idx

    with pytest.raises(TaskError, match="make it a @staticmethod"):
        Wrong(Provider({}))


def test_an_environment_that_is_no_dict():
    class Wrong(Provider):
        environment = ("model", "data")

    with pytest.raises(TaskError, match="environment of type tuple: make a dict"):
        Runner(Wrong({}))([0])


def test_a_setup_function_that_is_a_dict():
    class Wrong(Provider):
        def build_worker_setup_fn(self):
            return TASK_ENVIRONMENT

    with pytest.raises(TaskError, match="returned a dict: return a function"):
        build_worker_environment(Wrong({}))


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
    pipeline = runner.build_pipeline(runner.provider.build_env_local())
    item = pipeline.load(2)
    assert pipeline.store(item, pipeline.compute([item])[0]) == {
        "utt_id": "clara_02",
        "status": "ok",
    }
    assert (tmp_path / "out" / "c" / "clara_02.pt").is_file()


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


def test_an_utterance_error_is_the_projects_own():
    assert issubclass(UtteranceError, xvectors.XVectorsError)


def test_forward_takes_the_whole_environment(corpus, demo_encoder, tmp_path):
    env = make_provider(corpus, demo_encoder, tmp_path / "out").build_env_local()
    assert XVectorRunner.forward(0, **env) == {"utt_id": "alba_00", "status": "ok"}
    assert XVectorRunner.forward([0], **env) == [{"utt_id": "alba_00", "status": "skipped"}]


def test_forward_needs_no_more_than_the_contracts_environment(corpus, demo_encoder, tmp_path):
    env = make_provider(corpus, demo_encoder, tmp_path / "out").build_env_local()
    del env["origin"]
    env["output_dir"] = str(env["output_dir"])
    assert XVectorRunner.forward(0, **env)["status"] == "ok"
    assert torch.load(tmp_path / "out" / "alba_00.pt", weights_only=True).shape == (192,)


def test_what_is_no_embedding_is_no_sound_output(tmp_path):
    path = tmp_path / "a.pt"
    for tensor in (torch.ones(5, 7), torch.ones(5).double(), torch.full((5,), float("nan"))):
        torch.save(tensor, path)
        with pytest.raises(ValueError, match="holds"):
            XVectorRunner.check_output(path)
    torch.save(torch.ones(5), path)
    XVectorRunner.check_output(path)


def test_a_runner_of_ones_own_may_leave_any_tensor(tmp_path):
    path = tmp_path / "a.pt"
    for tensor in (torch.full((2, 3), -float("inf")), torch.tensor(7), torch.tensor(True)):
        torch.save(tensor, path)
        assert BaseRunner.check_output(path).shape == tensor.shape
    torch.save([1.0], path)
    with pytest.raises(ValueError, match="holds no tensor"):
        BaseRunner.check_output(path)

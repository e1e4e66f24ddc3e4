from omegaconf import OmegaConf

from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import collect_numerics


def test_the_recipe_holds_what_changes_vectors_and_nothing_else():
    base = {"pretrained_model": "a/b"}
    numerics = collect_numerics(resolve_config({"xvector": base}))
    for same in ({"batch_size": None}, {"n_shards": 3}, {"device": "cpu"}, {"on_error": "skip"}):
        assert collect_numerics(resolve_config({"xvector": base | same})) == numerics
    assert "vad" not in numerics
    others = [{"precision": "bf16"}, {"toolkit": "espnet"}, {"runner": "mine.Runner"}]
    for other in (*others, {"vad": "silero"}):
        assert collect_numerics(resolve_config({"xvector": base | other})) != numerics
    assert numerics["toolkit_version"]
    assert OmegaConf.create(numerics)  # plain values, as Snakemake's params need


def test_a_front_end_is_part_of_it_by_its_settings():
    base = {"toolkit": "onnx", "pretrained_model": "a.onnx"}

    def found(frontend):
        return collect_numerics(resolve_config({"xvector": base | {"frontend": frontend}}))

    assert "frontend" not in found(None)
    # The mean of several channels was taken before.
    assert found(None)["numerics"] == 2
    assert found("cosyvoice") == found("3dspeaker") == found({"window": "povey"})
    maps = [{"subtract_mean": False}, {"channels": "mean"}]
    different = [found(one) for one in ("wespeaker", "cosyvoice", "raw", *maps)]
    assert all(one != other for one in different for other in different if one is not other)

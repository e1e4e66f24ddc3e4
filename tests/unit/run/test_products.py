from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.run.products import Products


def names(paths):
    return [path.removeprefix("out/tag/") for path in paths]


def products(**xvector):
    fixed = {"pretrained_model": "model", "save_path": "out", "spk_embed_tag": "tag"}
    settings = resolve_config({"xvector": {**fixed, "splits": ["a", "b"], **xvector}})
    return Products(settings, Layout.of(settings))


def test_without_anything_asked_for_there_are_none():
    plain = products(speaker_means=False, report=False)
    assert plain.all() == plain.excluded() == plain.labels() == plain.cohort() == []
    assert plain.scores() == plain.summaries() == []


def test_everything():
    full = products(
        labels=True,
        clusters=True,
        min_seconds=1,
        exports=["numpy"],
        trials={"t": "t.txt"},
        cohort="a",
    )
    assert names(full.excluded()) == ["{split}.excluded.tsv"]
    assert names(full.labels()) == ["{split}.labels.tsv"]
    assert names(full.cohort()) == ["a.speakers.safetensors"]
    assert names(full.summaries()) == [
        "a.labels.json",
        "b.labels.json",
        "a.clusters.json",
        "b.clusters.json",
    ]
    scores = ["t.scores.tsv", "t.scores.json", "t.scores.html"]
    assert names(full.scores()) == scores
    kinds = [
        "npy",
        "speakers.safetensors",
        "labels.tsv",
        "clean.tsv",
        "clusters.tsv",
        "report.html",
    ]
    expected = [f"{split}.{kind}" for kind in kinds for split in ("a", "b")]
    assert names(full.all()) == [*expected, "overview.html", *scores]

"""The benchmark of size, at hardly any: its steps do to the last what a run does."""

import pytest

from tests.scale.corpus import make_manifest
from tests.scale.run import SPLIT, Bench, Cost, slopes, summarize
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.markers import read_marker

pytestmark = pytest.mark.integration
N_UTTERANCES = 70


def n_lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_every_utterance_is_embedded_listed_and_exported_once(tmp_path):
    bench = Bench(tmp_path, N_UTTERANCES, "files")
    steps = ["check the manifest", "split it", "snakemake", "find it embedded", "export to Kaldi"]
    costs = dict(bench.measure(steps))
    assert list(costs) == steps
    assert all(cost.peak_bytes > 0 and not cost.refused for cost in costs.values())
    out = tmp_path / "out" / "tag"
    assert len(list((out / SPLIT).glob("*.pt"))) == N_UTTERANCES
    assert n_lines(out / f"{SPLIT}.tsv") == N_UTTERANCES + 1
    assert n_lines(out / f"{SPLIT}.failed.tsv") == 1
    assert n_lines(out / f"{SPLIT}.kaldi" / "xvector.scp") == N_UTTERANCES
    assert (out / f"{SPLIT}.report.html").exists()


def test_a_pretended_run_leaves_what_a_run_leaves(tmp_path):
    bench = Bench(tmp_path, N_UTTERANCES, "packed")
    steps = ["split it", "fetch the encoder", "pretend all the rest", "find it embedded"]
    steps += ["hold against files", "collect"]
    assert list(dict(bench.measure(steps))) == steps
    out = tmp_path / "out" / "tag"
    # What was found embedded was not embedded again.
    (marker,) = (out / ".shards" / SPLIT).glob("*.done")
    assert read_marker(marker).n_skipped == N_UTTERANCES
    assert n_lines(out / f"{SPLIT}.tsv") == N_UTTERANCES + 1


def test_a_manifest_names_files_that_are_there(tmp_path):
    manifest = read_manifest(make_manifest(tmp_path / "corpus", N_UTTERANCES))
    assert len({utterance.utt_id for utterance in manifest.utterances}) == N_UTTERANCES
    assert all(utterance.seconds for utterance in manifest.utterances)
    assert all((tmp_path / "corpus" / one.wav_path).is_file() for one in manifest.utterances)


def test_slopes_are_between_sizes_and_leave_out_what_was_refused():
    assert slopes([(1, 2.0), (3, 4.0), (13, 9.0)]) == [1.0, 0.5]
    costs = {10: {"collect": Cost(1.0, 1.0, 100)}, 20: {"collect": Cost(2.0, 1.5, 300)}}
    found = summarize(costs | {30: {"collect": Cost(0.0, 0.0, 0, "too much")}})["collect"]
    assert found["bytes"] == [20.0]
    assert found["cpu_microseconds"] == pytest.approx([5e4])

"""Tasks of one's own under the shard rules: the documented example, and other kinds of file."""

import re
import sys

import numpy as np
import pytest
import soundfile
import torch

from tests.support.checkout import PROVIDER, REPOSITORY, changed

pytestmark = pytest.mark.integration

# Any kind of file at any place, written by a runner that takes batches.
POWER_TASK = (
    PROVIDER
    + """
import numpy as np
import soundfile


class Runner(BaseRunner):
    @staticmethod
    def output_path(output_dir, utt_id):
        return output_dir / utt_id[0] / f"{utt_id}.npy"

    @staticmethod
    def check_output(path):
        np.load(path)

    @staticmethod
    def forward(idx, manifest, output_dir):
        for position in idx:
            utterance = manifest.utterances[position]
            if utterance.utt_id.startswith("hugo"):
                raise UtteranceError("not this one")
            samples, _ = soundfile.read(locate_audio(manifest.path, utterance.wav_path))
            path = Runner.output_path(output_dir, utterance.utt_id)
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.square(samples).mean())
        return [None] * len(idx)
"""
)


def code_blocks(language: str) -> list[str]:
    text = (REPOSITORY / "docs" / "new_task.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_documented_example_runs_under_the_rules_and_from_python(checkout):
    task, from_python, _ = code_blocks("python")
    (configuration,) = code_blocks("yaml")
    (command,) = code_blocks("bash")
    (checkout.root / "loudness.py").write_text(task)
    (checkout.root / "loudness.yaml").write_text(configuration)
    result = checkout.run_plain("bash", "-c", command)
    assert result.returncode == 0, result.stdout
    out = checkout.root / "results" / "loudness"
    loudness = torch.load(out / "train" / "alba_00.pt", weights_only=True)
    samples, _ = soundfile.read(REPOSITORY / "config" / "demo" / "wav" / "alba" / "alba_00.flac")
    assert loudness.item() == pytest.approx(10 * np.log10(np.square(samples).mean()))
    assert len((out / "train.tsv").read_text().splitlines()) == 41
    again = checkout.run_plain("bash", "-c", command)
    assert "Nothing to be done" in again.stdout

    (checkout.root / "use.py").write_text(from_python + "print(results)\n")
    result = checkout.run_plain(sys.executable, "use.py")
    assert result.stdout.count("'status': 'ok'") == 3, result.stdout
    assert torch.load(checkout.root / "alba_00.pt", weights_only=True) == loudness


def test_the_documented_stages_run_under_the_rules(checkout):
    task, _, build_pipeline = code_blocks("python")
    (checkout.root / "peaks.py").write_text(task + build_pipeline)
    checkout.xvector.update(
        provider="peaks.LoudnessProvider", runner="peaks.PeakRunner", pretrained_model=None
    )
    checkout.run_well()
    peaks = checkout.vectors()
    assert len(peaks) == 8
    samples, _ = soundfile.read(checkout.audio("alba_00"))
    assert peaks["alba_00"].item() == np.abs(samples).max()


def test_files_of_another_kind_are_skipped_checked_and_listed_too(checkout):
    (checkout.root / "power.py").write_text(POWER_TASK)
    checkout.xvector.update(
        provider="power.Provider",
        runner="power.Runner",
        pretrained_model=None,
        on_error="skip",
    )
    checkout.run_well()
    rows = checkout.rows("train.tsv")
    assert len(rows) == 8
    assert rows[1][2] == "train/a/alba_00.npy"
    assert checkout.rows("train.failed.tsv")[1] == ["hugo_04", "hugo_04.wav", "not this one"]

    paths = {path.stem: path for path in checkout.embeddings.rglob("*.npy")}
    before = {utt_id: path.stat().st_mtime_ns for utt_id, path in paths.items()}
    checkout.xvector["n_shards"] = 3
    soundfile.write(checkout.audio("boris_01"), np.full(16000, 0.5), 16000)
    checkout.run_well()
    after = {utt_id: path.stat().st_mtime_ns for utt_id, path in paths.items()}
    assert changed(before, after) == {"boris_01"}
    assert np.load(paths["boris_01"]) == pytest.approx(0.25, rel=1e-3)

    paths["grace_04"].write_bytes(b"damaged")
    checkout.run_well()
    assert np.isfinite(np.load(paths["grace_04"]))


def test_a_job_of_an_earlier_run_stops_when_the_next_one_begins(checkout):
    task = POWER_TASK.replace("hugo", "nobody").replace(
        "return [None] * len(idx)",
        '(output_dir.parent / ".lock").write_text("the next run")\n'
        "        return [None] * len(idx)",
    )
    (checkout.root / "power.py").write_text(task)
    checkout.xvector.update(
        provider="power.Provider",
        runner="power.Runner",
        pretrained_model=None,
        n_shards=1,
        batch_size=3,
    )
    result = checkout.run()
    assert result.returncode != 0
    assert "stopped because another run (the next run) has begun" in result.stdout
    # It looks at the lock at most once a second, but always before it calls its shard done.
    assert list(checkout.embeddings.rglob("*.npy"))
    assert not list(checkout.out.rglob("*.done"))


# As ESPnet3's own runner does it; and it lets pass whatever soundfile raises.
SKIPPING_TASK = (
    POWER_TASK.replace("hugo", "nobody")
    .replace(
        "            samples, _ =",
        "            if Runner.output_path(output_dir, utterance.utt_id).exists():\n"
        "                continue\n"
        "            samples, _ =",
    )
    .replace(".npy", ".pt")
    .replace("np.save(path, np.square(samples).mean())", "torch.save(torch.tensor(samples), path)")
    .replace("np.load(path)", "torch.load(path)")
    .replace("import soundfile", "import soundfile\nimport torch")
)


def test_a_runner_that_skips_what_exists_and_raises_what_it_likes(checkout):
    (checkout.root / "power.py").write_text(SKIPPING_TASK)
    checkout.xvector.update(provider="power.Provider", runner="power.Runner", pretrained_model=None)
    good = checkout.audio("clara_02").read_bytes()
    checkout.audio("clara_02").write_bytes(b"rubbish")
    result = checkout.run()
    assert result.returncode != 0
    assert "train: clara_02: LibsndfileError" in result.stdout
    outputs = {path.stem: path for path in checkout.embeddings.rglob("*.pt")}
    assert len(outputs) == 7

    checkout.audio("clara_02").write_bytes(good)
    soundfile.write(checkout.audio("boris_01"), np.full(16000, 0.5), 16000)
    before = {utt_id: path.stat().st_mtime_ns for utt_id, path in outputs.items()}
    checkout.run_well()
    after = {utt_id: path.stat().st_mtime_ns for utt_id, path in outputs.items()}
    assert changed(before, after) == {"boris_01"}
    assert torch.load(outputs["boris_01"]).shape == (16000,)
    assert len(checkout.rows("train.tsv")) == 9


def test_a_mistake_in_a_task_is_a_one_line_error(checkout):
    task = POWER_TASK.replace("manifest, output_dir):", "manifest, output):")
    assert task != POWER_TASK
    checkout.use_task(task, pretrained_model=None, n_shards=1)
    (error,) = checkout.run_badly()
    assert "Runner.forward asks for output, which" in error

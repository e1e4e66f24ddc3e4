"""A checkout of the workflow in a temporary folder, run as a user runs it."""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.support.snakemake_process import run_snakemake

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "config" / "demo"
CHECKOUT = ("Makefile", "Snakefile", "workflow", "scripts", "profiles", "envs", "config")

# The beginning of a task of one's own: its environment is the manifest and the output folder.
PROVIDER = """
from functools import partial
from pathlib import Path

from xvectors import BaseRunner, EnvironmentProvider, UtteranceError
from xvectors.manifest.reading import locate_audio, read_manifest


def build(config, params):
    manifest = read_manifest(Path(params["manifest_path"]))
    return {"manifest": manifest, "output_dir": Path(params["output_dir"]), "done": []}


class Provider(EnvironmentProvider):
    def build_env_local(self):
        return build(self.config, self.params)

    def build_worker_setup_fn(self):
        return partial(build, self.config, self.params)

"""

# Takes the encoder's place where the vectors do not matter. Its jobs do without PyTorch: every
# recording that can be read gets the vector in template.pt.
QUICK_TASK = (
    PROVIDER
    + """
import shutil

from xvectors.audio.opening import open_recording


class Runner(BaseRunner):
    @staticmethod
    def forward(idx, manifest, output_dir):
        positions = idx if isinstance(idx, list) else [idx]
        for position in positions:
            utterance = manifest.utterances[position]
            try:
                open_recording(locate_audio(manifest.path, utterance.wav_path)).close()
            except UtteranceError as error:
                raise UtteranceError(f"cannot be read: {error}") from error
            shutil.copy("template.pt", output_dir / f"{utterance.utt_id}.pt")
        return [None] * len(positions) if isinstance(idx, list) else None
"""
)


class Checkout:
    """A copy of the workflow with a corpus of its own, ``corpus/train.tsv``, eight recordings.

    ``my.yaml`` configures it: one split, two shards, the demo's encoder, embeddings alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in CHECKOUT:
            source, target = REPOSITORY / name, root / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        self.corpus = root / "corpus"
        self.corpus.mkdir()
        self.manifest = self.corpus / "train.tsv"
        names = ["alba_00", "boris_01", "clara_02", "dmitri_03"]
        names += ["edith_02", "fergus_03", "grace_04", "hugo_04"]
        for name in names:
            self.add_utterance(name, name)
        self.xvector: dict[str, Any] = {
            "pretrained_model": "config/demo/encoder",
            "spk_embed_tag": "tag",
            "save_path": "out",
            "n_shards": 2,
            "batch_size": 3,
            "splits": ["train"],
            # Tests that are about what is made of embeddings ask for it.
            "speaker_means": False,
            "report": False,
            "manifest_paths": {"train": "corpus/train.tsv"},
        }

    def use_task(self, task: str, **settings: Any) -> None:
        """Let a provider and a runner of the user's own take the encoder's place."""
        (self.root / "own_task.py").write_text(task)
        torch.save(torch.ones(3), self.root / "template.pt")
        self.xvector.update(provider="own_task.Provider", runner="own_task.Runner", **settings)

    def copied(self, root: Path) -> "Checkout":
        """Copy the checkout with all that was made in it."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        made = copy.deepcopy(self)
        made.root, made.corpus = root, root / "corpus"
        made.manifest = made.corpus / "train.tsv"
        return made

    def add_utterance(self, utt_id: str, demo_utterance: str) -> None:
        """Copy one of the demo's recordings into the corpus, and list it at the end."""
        speaker = demo_utterance.split("_", maxsplit=1)[0]
        (audio,) = (DEMO / "wav" / speaker).glob(f"{demo_utterance}.*")
        shutil.copy(audio, self.corpus / f"{utt_id}{audio.suffix}")
        with self.manifest.open("a", encoding="utf-8") as file:
            file.write(f"{utt_id}\t{utt_id}{audio.suffix}\tsome words\t{speaker}\n")

    def audio(self, utt_id: str) -> Path:
        """Return the recording of an utterance."""
        (path,) = (path for path in self.corpus.iterdir() if path.stem == utt_id)
        return path

    def write_config(self) -> None:
        """Write ``my.yaml``."""
        (self.root / "my.yaml").write_text(yaml.safe_dump({"xvector": self.xvector}))

    def arguments(self, *arguments: str) -> list[str]:
        """Write ``my.yaml`` and return the user's arguments of Snakemake with it."""
        self.write_config()
        return ["--cores", "2", "--configfile", "my.yaml", *arguments]

    def command(self, *arguments: str) -> list[str]:
        """Write ``my.yaml`` and return the user's command with it."""
        return [sys.executable, "-m", "snakemake", *self.arguments(*arguments)]

    def environment(self) -> dict[str, str]:
        """Return the environment of a run: ours, with the checkout's root for own tasks."""
        return {**os.environ, "PYTHONPATH": str(self.root), "HF_HUB_OFFLINE": "1"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the workflow on the corpus; stderr comes with stdout."""
        return run_snakemake(
            *self.arguments(*arguments), folder=self.root, environment=self.environment()
        )

    def run_plain(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run any command in the checkout; stderr comes with stdout."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run_well(self, *arguments: str) -> str:
        """Run the workflow, expect success, and return what it printed."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def snakemake_log(self) -> str:
        """Return what Snakemake logged in its last run, of which the terminal shows little."""
        logs = (self.root / ".snakemake" / "log").glob("*.log")
        return max(logs, key=lambda path: path.name).read_text()

    def jobs_of_run(self) -> list[tuple[str, ...]]:
        """Run the workflow, expect success, and return its jobs."""
        self.run_well()
        return jobs_in(self.snakemake_log())

    def run_badly(self, *arguments: str) -> list[str]:
        """Run the workflow, expect an error without a traceback, and return its lines.

        A job's error is printed where it happens and after the run's summary; it comes once here.
        """
        result = self.run(*arguments)
        assert result.returncode != 0, result.stdout
        assert "Traceback" not in result.stdout
        lines = result.stdout.splitlines()
        return list(dict.fromkeys(line for line in lines if line.startswith("error:")))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the workflow in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def out(self) -> Path:
        """The encoder's folder of outputs."""
        return self.root / "out" / "tag"

    @property
    def embeddings(self) -> Path:
        """The folder of the split's embeddings."""
        return self.out / "train"

    def times(self) -> dict[str, int]:
        """Return the modification time in ns of every embedding, by utterance."""
        return {path.stem: path.stat().st_mtime_ns for path in self.embeddings.glob("*.pt")}

    def vectors(self, split: str = "train") -> dict[str, torch.Tensor]:
        """Return every embedding of a split, by utterance."""
        paths = (self.out / split).glob("*.pt")
        return {path.stem: torch.load(path, weights_only=True) for path in paths}

    def rows(self, name: str) -> list[list[str]]:
        """Return the lines of one of the output tables, the header first."""
        lines = (self.out / name).read_text(encoding="utf-8").splitlines()
        return [line.split("\t") for line in lines]


def jobs_in(printed: str) -> list[tuple[str, ...]]:
    """Return the jobs that Snakemake names: rule, split and shard."""
    blocks = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", printed, re.M)
    names = re.compile(r"wildcards: (.*)")
    return sorted((rule, *names.findall(block)) for rule, block in blocks)


def kill_group(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to a process and all its children, and wait for it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Return the utterances whose embedding was written in between."""
    return {utt_id for utt_id, time in after.items() if before.get(utt_id) != time}

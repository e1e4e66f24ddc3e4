"""The workflow as a module of another one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.snakemake_process import run_snakemake

pytestmark = pytest.mark.integration

OUTER = """
SETTINGS = {settings}


def settings(tag):
    return {{"xvector": SETTINGS | {{"spk_embed_tag": tag}}}}


rule other:
    output:
        "other.txt",
    shell:
        "echo other > {{output}}"

"""
MODULE = """
module {name}:
    snakefile:
        {snakefile}
    config:
        {config}
    {more}


use rule * from {name} as {name}_*

"""
# Recordings lie beside the corpus, the manifest does not.
MAKE_MANIFEST = """
rule make:
    input:
        "corpus/train.tsv",
    output:
        "made/train.tsv",
    run:
        with open(input[0]) as lines, open(output[0], "w") as made:
            for line in lines:
                utt_id, wav_path, *others = line.split("\\t")
                made.write("\\t".join([utt_id, "../corpus/" + wav_path, *others]))

"""


class Outer:
    """A workflow of its own in a folder of its own, which uses a checkout as its module."""

    def __init__(self, checkout, manifest="corpus/train.tsv"):
        self.checkout, self.root = checkout, checkout.root
        self.snakefile = checkout.root / "mine.smk"
        self.module = checkout.root / "workflow" / "Snakefile"
        settings = checkout.xvector | {"manifest_paths": {"train": manifest}}
        self.text = OUTER.format(settings=settings)

    def use(self, name, config, more="", snakefile=None):
        snakefile = snakefile or f'"{self.module}"'
        self.text += MODULE.format(name=name, snakefile=snakefile, config=config, more=more)

    def run(self, *targets, **variables):
        self.snakefile.write_text(self.text)
        arguments = ("-s", str(self.snakefile), "--cores", "2", *targets)
        environment = self.checkout.environment() | variables
        return run_snakemake(*arguments, folder=self.root, environment=environment)

    def run_well(self, *targets, **variables):
        result = self.run(*targets, **variables)
        assert result.returncode == 0, result.stdout
        return result.stdout


def host(checkout, folder):
    """Commit a checkout and let git find it where GitHub would have it. Returns the settings."""
    (checkout.root / ".gitignore").write_text("__pycache__\n")
    user = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*user, "commit", "--quiet", "--message", "All"],
        ["branch", "--move", "--force", "main"],
        ["tag", "v0.1.0"],
        ["clone", "--quiet", "--bare", ".", str(folder / "me" / "xvectors")],
    ):
        subprocess.run(["git", *command], cwd=checkout.root, check=True)
    settings = folder / "gitconfig"
    settings.write_text(f'[url "file://{folder}/"]\n    insteadOf = https://github.com/\n')
    return {"GIT_CONFIG_GLOBAL": str(settings), "XDG_CACHE_HOME": str(folder / "cache")}


def embedded(folder):
    return {path.stem for path in (folder / "train").glob("*.pt")}


def test_two_encoders_in_one_workflow(checkout):
    outer = Outer(checkout)
    outer.use("xa", 'settings("a")')
    outer.use("xb", 'settings("b")')
    outer.text += (
        "rule both:\n    input:\n        rules.xa_all.input,\n        rules.xb_all.input,\n"
    )
    outer.run_well("both")
    for tag in ("a", "b"):
        folder = checkout.root / "out" / tag
        assert len(embedded(folder)) == 8
        assert (folder / "train.tsv").is_file()
        # A job held the lock, since nothing of a module runs in the main process.
        assert (folder / ".lock").read_text().startswith("process ")
    assert "Nothing to be done" in outer.run_well("both")


@pytest.mark.parametrize(
    ("snakefile", "n_embedded"),
    [
        ('github("me/xvectors", path="workflow/Snakefile", tag="v0.1.0")', 8),
        # The same but for Snakemake's cache, which a dry run shows.
        ('"gh:me/xvectors@main"', 0),
    ],
)
def test_a_module_from_github(snakefile, n_embedded, checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosted")
    variables = host(checkout, folder)
    outer = Outer(checkout)
    outer.use("xv", 'settings("a")', snakefile=snakefile)
    outer.text += 'import xvectors\n\nprint("the package:", xvectors.__file__)\n'
    # Nothing of the checkout is found by chance.
    (checkout.root / "scripts").rename(checkout.root / "hidden")
    options = [] if n_embedded else ["--dry-run"]
    printed = outer.run_well("out/a/train.tsv", *options, **variables)
    assert f"the package: {folder / 'cache'}" in printed
    assert "xv_embed_shard" in printed
    assert len(embedded(checkout.root / "out" / "a")) == n_embedded


def test_a_prefix_moves_everything_that_is_written(quick):
    outer = Outer(quick)
    outer.use("xv", 'settings("a")', 'prefix:\n        "below"')
    outer.run_well("xv_all")
    assert not (quick.root / "out").exists()
    folder = quick.root / "below" / "out" / "a"
    assert len(embedded(folder)) == 8
    assert (folder / ".logs" / "embed_shard" / "train" / "0-of-2.log").is_file()
    assert "Nothing to be done" in outer.run_well("xv_all")
    (folder / "train" / "alba_00.pt").unlink()
    assert outer.run_well("xv_all").count("localrule xv_embed_shard:") == 1


def test_rules_can_be_changed(quick):
    outer = Outer(quick)
    outer.use("xv", 'settings("a")')
    outer.text += (
        "use rule embed_shard from xv as xv_embed_shard with:\n"
        "    threads: 2\n"
        "    resources:\n"
        "        mem_mb=1234,\n"
    )
    outer.run_well("xv_all")
    assert len(embedded(quick.root / "out" / "a")) == 8
    printed = outer.run_well("-n", "--forceall", "xv_all")
    assert "threads: 2" in printed
    assert "mem_mb=1234" in printed


def test_a_manifest_of_the_outer_workflow(quick):
    outer = Outer(quick, "made/train.tsv")
    outer.text += MAKE_MANIFEST
    outer.use("xv", 'settings("a")')
    outer.run_well("xv_all")
    folder = quick.root / "out" / "a"
    assert len(embedded(folder)) == 8
    quick.add_utterance("late", "alba_03")
    outer.run_well("xv_all")
    assert len(embedded(folder)) == 9
    assert "Nothing to be done" in outer.run_well("xv_all")


@pytest.mark.parametrize("manifest", ["corpus/train.tsv", "missing.tsv"])
def test_another_target_of_the_outer_workflow_needs_nothing_of_the_module(quick, manifest):
    outer = Outer(quick, manifest)
    outer.use("xv", 'settings("a")')
    outer.run_well("other")
    assert Path(quick.root / "other.txt").read_text() == "other\n"
    assert not (quick.root / "out").exists()


def test_a_broken_configuration_is_a_one_line_error(quick):
    outer = Outer(quick)
    outer.use("xv", '{"xvector": {"batchsize": 3}}')
    result = outer.run("xv_all")
    assert result.returncode != 0
    assert "xvector.batchsize: unknown key, did you mean batch_size?" in result.stdout
    assert "Traceback" not in result.stdout


def test_a_second_run_is_refused_while_a_job_of_the_first_one_writes(quick):
    outer = Outer(quick)
    outer.use("xv", 'settings("a")')
    outer.run_well("xv_all")
    (quick.root / "out" / "a" / "train" / "alba_00.pt").unlink()
    holder = (
        "import sys, pathlib\n"
        "from xvectors.files.run_lock import RunLock, name_run\n"
        "name_run()\n"
        "lock = RunLock(pathlib.Path(sys.argv[1]))\n"
        "lock.join()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", holder, str(quick.root / "out" / "a")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        result = outer.run("xv_all")
        assert result.returncode != 0
        assert "another run (process" in result.stdout
        first.stdin.close()
    outer.run_well("xv_all")
    assert len(embedded(quick.root / "out" / "a")) == 8

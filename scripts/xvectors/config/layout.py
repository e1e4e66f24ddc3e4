"""The paths of an encoder's outputs, all defined here."""

from dataclasses import dataclass
from pathlib import Path

from xvectors.config.settings import Settings

# The name of the list of the utterances that are in no shard, without its suffix.
EXCLUDED = "excluded"


@dataclass(frozen=True)
class Layout:
    """Paths under ``<save_path>/<spk_embed_tag>``.

    A split or a shard may also be a Snakemake wildcard such as ``{split}``; the result is then
    the pattern of those paths.
    """

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """Return the layout that the settings ask for."""
        return cls(Path(settings.xvector.save_path) / settings.xvector.spk_embed_tag)

    @property
    def encoder_folder(self) -> Path:
        """The folder of the fetched encoder's files."""
        return self.root / ".encoder"

    @property
    def encoder_description(self) -> Path:
        """The description of the fetched encoder, beside the encoder's own files."""
        return self.encoder_folder / "encoder.json"

    def embeddings(self, split: str) -> Path:
        """Return the folder of a split's embeddings."""
        return self.root / split

    def table(self, split: str) -> Path:
        """Return the table of a split's embedded utterances."""
        return self.root / f"{split}.tsv"

    def failures(self, split: str) -> Path:
        """Return the table of a split's utterances that could not be embedded."""
        return self.root / f"{split}.failed.tsv"

    def excluded(self, split: str) -> Path:
        """Return the table of a split's utterances that are too short or too long."""
        return self.root / f"{split}.excluded.tsv"

    def safetensors(self, split: str) -> Path:
        """Return the safetensors file of all of a split's embeddings."""
        return self.root / f"{split}.safetensors"

    def parquet(self, split: str) -> Path:
        """Return the Parquet file of all of a split's embeddings."""
        return self.root / f"{split}.parquet"

    def numpy(self, split: str) -> Path:
        """Return the NumPy array of all of a split's embeddings."""
        return self.root / f"{split}.npy"

    def numpy_ids(self, split: str) -> Path:
        """Return the utt_ids of the NumPy array's rows, one a line."""
        return self.root / f"{split}.ids.txt"

    def cosyvoice(self, split: str) -> Path:
        """Return the folder of a split's embeddings as CosyVoice reads them."""
        return self.root / f"{split}.cosyvoice"

    def espnet3(self, split: str) -> Path:
        """Return the note that a split's link for ESPnet3 is made."""
        return self.root / ".shards" / f"{split}.espnet3"

    def espnet3_link(self, split: str) -> Path:
        """Return the link to a split's embeddings where ESPnet3's recipes look for them."""
        return self.root.with_name(f"{self.root.name}_{split}")

    def espnet3_target(self, split: str) -> Path:
        """Return a split's embeddings as seen from the link's folder."""
        return Path(self.root.name, split)

    def kaldi(self, split: str) -> Path:
        """Return the folder of a split's embeddings in Kaldi's format."""
        return self.root / f"{split}.kaldi"

    def speakers(self, split: str) -> Path:
        """Return the mean embeddings of a split's speakers."""
        return self.root / f"{split}.speakers.safetensors"

    def labels(self, split: str) -> Path:
        """Return the table of a split's speaker labels, with a verdict on each."""
        return self.root / f"{split}.labels.tsv"

    def labels_summary(self, split: str) -> Path:
        """Return the threshold and the counts behind a split's table of labels."""
        return self.root / f"{split}.labels.json"

    def clean_manifest(self, split: str) -> Path:
        """Return the manifest of a split's utterances whose label is not suspect."""
        return self.root / f"{split}.clean.tsv"

    def clusters(self, split: str) -> Path:
        """Return the table of the clusters of a split's utterances."""
        return self.root / f"{split}.clusters.tsv"

    def cluster_means(self, split: str) -> Path:
        """Return the mean embeddings of a split's clusters."""
        return self.root / f"{split}.clusters.safetensors"

    def clusters_summary(self, split: str) -> Path:
        """Return the threshold and the counts behind a split's clusters."""
        return self.root / f"{split}.clusters.json"

    def page(self, split: str) -> Path:
        """Return the page that shows the embeddings of a split."""
        return self.root / f"{split}.report.html"

    @property
    def overview(self) -> Path:
        """The page that lists all splits and trial lists."""
        return self.root / "overview.html"

    def scores(self, trials: str) -> Path:
        """Return the table of a trial list's scores."""
        return self.root / f"{trials}.scores.tsv"

    def error_rates(self, trials: str) -> Path:
        """Return the error rates of a trial list."""
        return self.root / f"{trials}.scores.json"

    def trials_page(self, trials: str) -> Path:
        """Return the page that shows the scores of a trial list."""
        return self.root / f"{trials}.scores.html"

    def plan(self, split: str) -> Path:
        """Return the summary of a split's shards, written after all of them."""
        return self.root / ".shards" / f"{split}.json"

    def counted(self, split: str) -> Path:
        """Return the note that a run has counted a split's shards after splitting its manifest."""
        return self.root / ".shards" / f"{split}.counted"

    def shards(self, split: str) -> Path:
        """Return the folder of a split's index shards and of what their jobs report."""
        return self.root / ".shards" / split

    def index_shard(self, split: str, shard: str) -> Path:
        """Return the list of the utterances of a shard."""
        return self.shards(split) / f"{shard}.json"

    def excluded_shard(self, split: str) -> Path:
        """Return the list of the utterances that are in no shard."""
        return self.shards(split) / f"{EXCLUDED}.json"

    def marker(self, split: str, shard: str) -> Path:
        """Return the done-marker of a shard."""
        return self.shards(split) / f"{shard}.done"

    def collected(self, split: str) -> Path:
        """Return the note that a split was collected, with a hash of its done-markers."""
        return self.root / ".shards" / f"{split}.collected"

    def unfinished(self, split: str, shard: str) -> Path:
        """Return the report of a shard job that ended without a marker: utterances failed."""
        return self.shards(split) / f"{shard}.unfinished"

    def last_work(self, split: str, shard: str) -> Path:
        """Return the account of a shard's last job that embedded something."""
        return self.shards(split) / f"{shard}.embedded"

    @property
    def progress_files(self) -> Path:
        """The folder of the files that tell how far jobs are, while a run lasts."""
        return self.root / ".progress"

    def progress(self, split: str, shard: str) -> Path:
        """Return the file that tells how far a shard's job is."""
        return self.progress_files / split / f"{shard}.json"

    def log(self, rule: str, stem: str) -> Path:
        """Return the log of a rule's job."""
        return self.root / ".logs" / rule / f"{stem}.log"


def shard_name(shard: int, n_shards: int) -> str:
    """Return ``<k>-of-<n>``, where k counts from 0 and is zero-padded to the width of n."""
    return f"{shard:0{len(str(n_shards))}d}-of-{n_shards}"


def shard_names(n_shards: int) -> list[str]:
    """Return the names of all `n_shards` shards, in order."""
    return [shard_name(shard, n_shards) for shard in range(n_shards)]

"""The utterances of a shard job."""

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

from xvectors.audio.containers import parse_member
from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.encoders.fetching import read_fingerprint
from xvectors.encoders.identity import collect_numerics
from xvectors.manifest.reading import locate_audio
from xvectors.sharding.index_shards import read_index_shard
from xvectors.storage.provenance import EmbeddingSource
from xvectors.tasks.incremental import Target

# Longer recordings come before members of containers. Few processes of a GPU's job hold one.
LONG_SECONDS = 600


class ShardUtterances:
    """The utterances of a shard, in manifest order.

    Attributes:
        manifest: The manifest.
        content: The index shard.
        source: The source of their embeddings, by row.

    """

    def __init__(self, settings: Settings, split: str, shard: str) -> None:
        """Read the index shard.

        Raises:
            ShardError: It is missing or damaged.

        """
        layout = Layout.of(settings)
        self.content = read_index_shard(layout.index_shard(split, shard))
        fingerprint = read_fingerprint(layout.encoder_description)
        self.source = EmbeddingSource(
            collect_numerics(settings),
            lambda: fingerprint,
            self.content.wav_paths,
            self.content.segments,
        )
        self.manifest = Path(settings.xvector.manifest_paths[split])

    def row_of(self, position: int) -> int:
        """Return the row of the utterance at a position in the manifest."""
        return bisect_left(self.content.positions, position)

    def in_reading_order(self, positions: Iterable[int]) -> list[tuple[float, int]]:
        """Return seconds and positions, in the order in which the utterances are to be read.

        Utterances of similar length come together, and the longest ones first. Members of
        containers come last, in the manifest's order, except for those above `LONG_SECONDS`.
        """

        def order(one: tuple[float, int]) -> tuple[bool, float]:
            seconds, position = one
            wav_path = self.content.wav_paths[self.row_of(position)]
            is_member = seconds <= LONG_SECONDS and parse_member(wav_path) is not None
            return is_member, position if is_member else -seconds

        seconds = self.content.seconds
        return sorted(((seconds[self.row_of(one)], one) for one in positions), key=order)

    def target_of(self, position: int) -> Target:
        """Return the utterance at a position in the manifest."""
        row = self.row_of(position)
        audio_path = locate_audio(self.manifest, self.content.wav_paths[row])
        return Target(self.content.utt_ids[row], audio_path, self.source.provenance(row))

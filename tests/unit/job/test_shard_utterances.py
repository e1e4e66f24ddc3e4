from xvectors.audio.signal import Segment
from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.encoders.fetching import fetch_encoder
from xvectors.job.shard_utterances import ShardUtterances
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.splitting import split_manifest


def test_utterances_are_found_by_their_position_in_the_manifest(tmp_path):
    manifest = tmp_path / "train.tsv"
    lines = [f"u{i}\taudio/{i}.wav\ttext\ts1\tseconds=1.0\n" for i in range(7)]
    lines[4] = "u4\taudio/4.wav\ttext\ts1\tstart=1\tend=2.5\n"
    manifest.write_text("".join(lines))
    keys = {"save_path": str(tmp_path), "spk_embed_tag": "tag", "pretrained_model": None}
    config = resolve_config({"xvector": {**keys, "manifest_paths": {"train": str(manifest)}}})
    layout = Layout.of(config)
    fetch_encoder(None, layout.encoder_description)
    split_manifest(read_manifest(manifest), "train", 2, layout)
    seen = []
    for shard in ("0-of-2", "1-of-2"):
        utterances = ShardUtterances(config, "train", shard)
        for row, position in enumerate(utterances.content.positions):
            assert utterances.row_of(position) == row
            utt_id, audio_path, provenance = utterances.target_of(position)
            assert utt_id == f"u{position}"
            assert audio_path == str(tmp_path / "audio" / f"{position}.wav")
            assert provenance.wav_path == f"audio/{position}.wav"
            assert provenance.segment == (Segment(1, 2.5) if position == 4 else None)
            assert provenance.made_by["encoder"] is None
            seen.append(position)
    assert sorted(seen) == list(range(7))


def test_files_are_read_by_length_and_then_members_as_they_lie(tmp_path):
    manifest = tmp_path / "train.tsv"
    recordings = [("a.tar:0+9", 1), ("a.tar:9+9", 7), ("b.wav", 2), ("a.tar:18+9", 700)]
    recordings += [("c.wav", 3), ("t.parquet:audio[0]", 2)]
    lines = [
        f"u{i}\t{path}\ttext\ts1\tseconds={seconds}\n"
        for i, (path, seconds) in enumerate(recordings)
    ]
    manifest.write_text("".join(lines))
    keys = {"save_path": str(tmp_path), "spk_embed_tag": "tag", "pretrained_model": None}
    config = resolve_config({"xvector": {**keys, "manifest_paths": {"train": str(manifest)}}})
    layout = Layout.of(config)
    fetch_encoder(None, layout.encoder_description)
    split_manifest(read_manifest(manifest), "train", 1, layout)
    utterances = ShardUtterances(config, "train", "0-of-1")
    expected = [(700.0, 3), (3.0, 4), (2.0, 2), (1.0, 0), (7.0, 1), (2.0, 5)]
    assert utterances.in_reading_order(range(6)) == expected

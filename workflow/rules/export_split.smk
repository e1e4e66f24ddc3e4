"""Embeddings in the formats of other tools.

Input: the table of what is embedded. Output: one file, or for Kaldi one folder, per split.
"""


rule export_safetensors:
    """Write a safetensors file, a tensor per utterance."""
    input:
        index=rules.collect_split.output.index,
        # The table may stay as it was when embeddings change.
        markers=markers_of_split,
    output:
        vectors=str(layout.safetensors("{split}")),
    log:
        log_of("export_safetensors", "{split}"),
    localrule: True
    conda:
        "../../envs/xvectors.yaml"
    script:
        "../../scripts/export_safetensors.py"


rule export_parquet:
    """Write a Parquet table, a row per utterance."""
    input:
        index=rules.collect_split.output.index,
        # The table may stay as it was when embeddings change.
        markers=markers_of_split,
    output:
        table=str(layout.parquet("{split}")),
    log:
        log_of("export_parquet", "{split}"),
    localrule: True
    conda:
        "../../envs/xvectors.yaml"
    script:
        "../../scripts/export_parquet.py"


rule export_kaldi:
    """Write Kaldi's archives of utterances and speakers, and who speaks what."""
    input:
        index=rules.collect_split.output.index,
        # The table may stay as it was when embeddings change.
        markers=markers_of_split,
        speakers=rules.average_speakers.output.speakers,
    output:
        folder=directory(str(layout.kaldi("{split}"))),
    log:
        log_of("export_kaldi", "{split}"),
    localrule: True
    conda:
        "../../envs/xvectors.yaml"
    script:
        "../../scripts/export_kaldi.py"

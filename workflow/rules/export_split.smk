"""Embeddings in the formats of other tools.

Input: the table of embedded utterances. Output: a file or a folder per split, or a link.
"""


rule export_safetensors:
    """Write a safetensors file, a tensor per utterance."""
    input:
        **table_of_split,
    output:
        vectors=str(layout.safetensors("{split}")),
    log:
        log_of("export_safetensors", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_safetensors.py"


rule export_parquet:
    """Write a Parquet table, a row per utterance."""
    input:
        **table_of_split,
    output:
        table=str(layout.parquet("{split}")),
    log:
        log_of("export_parquet", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_parquet.py"


rule export_kaldi:
    """Write Kaldi's archives of utterances and speakers, and the utterances of each speaker."""
    input:
        **table_of_split,
        speakers=str(layout.speakers("{split}")),
    output:
        folder=directory(str(layout.kaldi("{split}"))),
    log:
        log_of("export_kaldi", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_kaldi.py"


rule export_numpy:
    """Write a NumPy array of all embeddings, and the utt_ids of its rows."""
    input:
        **table_of_split,
    output:
        array=str(layout.numpy("{split}")),
        names=str(layout.numpy_ids("{split}")),
    log:
        log_of("export_numpy", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_numpy.py"


rule export_cosyvoice:
    """Write the dictionaries of utterances and speakers that CosyVoice reads."""
    input:
        **table_of_split,
    output:
        folder=directory(str(layout.cosyvoice("{split}"))),
    log:
        log_of("export_cosyvoice", "{split}"),
    localrule: True
    conda:
        "../../envs/embedding.yaml"
    script:
        "../../scripts/export_cosyvoice.py"


rule export_espnet3:
    """Link the embeddings where ESPnet3's recipes look for them."""
    input:
        **table_of_split,
    output:
        note=str(layout.espnet3("{split}")),
    log:
        log_of("export_espnet3", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_espnet3.py"

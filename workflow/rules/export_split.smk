"""Embeddings in the formats of other tools.

Input: the table of embedded utterances. Output: a file or a folder per split, or a link.
"""


rule export_safetensors:
    """Write a safetensors file, a tensor per utterance."""
    input:
        **table_of_split,
    output:
        vectors=layout.safetensors("{split}"),
    log:
        layout.log("export_safetensors", "{split}"),
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
        table=layout.parquet("{split}"),
    log:
        layout.log("export_parquet", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_parquet.py"


rule export_kaldi:
    """Write Kaldi's archives of utterances and speakers, and the utterances of each speaker."""
    input:
        **table_of_split,
        speakers=layout.speakers("{split}"),
    output:
        folder=directory(layout.kaldi("{split}")),
    log:
        layout.log("export_kaldi", "{split}"),
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
        array=layout.numpy("{split}"),
        names=layout.numpy_ids("{split}"),
    log:
        layout.log("export_numpy", "{split}"),
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
        folder=directory(layout.cosyvoice("{split}")),
    log:
        layout.log("export_cosyvoice", "{split}"),
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
        note=layout.espnet3("{split}"),
    log:
        layout.log("export_espnet3", "{split}"),
    localrule: True
    conda:
        results_env
    script:
        "../../scripts/export_espnet3.py"

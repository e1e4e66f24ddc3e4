"""The mean embedding of every speaker of a split.

Input: the table of embedded utterances. Output: a safetensors file, a tensor per speaker.
"""


rule average_speakers:
    """Average the embeddings of each speaker."""
    input:
        **table_of_split,
    output:
        speakers=layout.speakers("{split}"),
    log:
        layout.log("average_speakers", "{split}"),
    localrule: True
    conda:
        results_env
    params:
        length_normalize=settings.xvector.length_normalize,
    script:
        "../../scripts/average_speakers.py"

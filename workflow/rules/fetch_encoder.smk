"""Put the encoder where every job can read it.

Input: the hub, or a local folder. Output: a folder of plain files and their description.
"""

from xvectors.encoders.source import files_version


rule fetch_encoder:
    """Copy or download the encoder once, on the submit host, and compute its fingerprint."""
    input:
        force_stale_jobs,
    output:
        encoder=layout.encoder_description,
    log:
        layout.log("fetch_encoder", "encoder"),
    localrule: True
    conda:
        "../../envs/results.yaml"
    params:
        pretrained_model=settings.xvector.pretrained_model,
        files=files_version(settings.xvector.pretrained_model),
    script:
        "../../scripts/fetch_encoder.py"

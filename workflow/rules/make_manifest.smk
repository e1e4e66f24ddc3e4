"""Make the manifests of the splits that have a corpus.

Input: none. A corpus is a folder of any size, too large for Snakemake to watch. Output: the manifest.
"""

for split, corpus in settings.xvector.corpora.items():

    rule:
        name:
            f"make_manifest_{split}"
        output:
            # Keep the old manifest until the new one is complete.
            manifest=update(manifest_paths[split]),
        log:
            layout.log("make_manifest", split),
        localrule: True
        conda:
            "../../envs/results.yaml"
        params:
            corpus=corpus.given(),
        script:
            "../../scripts/make_manifest.py"

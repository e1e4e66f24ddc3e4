"""Make the manifests of the splits that have a corpus.

Input: none that Snakemake could watch, as a corpus is a folder of any size. Output: the manifest.
"""

for split, corpus in settings.xvector.corpora.items():

    rule:
        name:
            f"make_manifest_{split}"
        output:
            # What is there stays until the new one is whole.
            manifest=update(manifest_paths[split]),
        log:
            log_of("make_manifest", split),
        localrule: True
        conda:
            "../../envs/xvectors.yaml"
        params:
            corpus=corpus.given(),
        script:
            "../../scripts/make_manifest.py"

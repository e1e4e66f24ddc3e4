"""Bulk speaker-embedding extraction: from manifests to one embedding per utterance."""

from snakemake.utils import min_version

min_version("9.0")


# The demo's settings would stay underneath those of a user's own file.
if not workflow.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch_encoder.smk"
include: "workflow/rules/make_manifest.smk"
include: "workflow/rules/split_manifest.smk"
include: "workflow/rules/embed_shard.smk"
include: "workflow/rules/collect_split.smk"
include: "workflow/rules/average_speakers.smk"
include: "workflow/rules/export_split.smk"
include: "workflow/rules/score_trials.smk"
include: "workflow/rules/draw_report.smk"


report: "workflow/report/workflow.rst"


rule all:
    """Every split is embedded, checked, listed and shown, and what is made of it too."""
    input:
        # By name, as Snakemake makes no missing intermediate file whose product is there.
        encoder=rules.fetch_encoder.output.encoder,
        markers=all_markers,
        index=expand(layout.index("{split}"), split=settings.xvector.splits),
        failures=expand(layout.failures("{split}"), split=settings.xvector.splits),
        products=all_products,
    localrule: True

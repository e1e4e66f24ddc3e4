"""The overview of all splits and trial lists.

Input: their tables and summaries, and the notes of their done-markers. Output: a page with links to
all other pages.
"""


rule draw_overview:
    """List all splits and trial lists with links to their pages."""
    input:
        encoder=layout.encoder_description,
        collected=expand(layout.collected("{split}"), split=settings.xvector.splits),
        tables=expand(layout.table("{split}"), split=settings.xvector.splits),
        failures=expand(layout.failures("{split}"), split=settings.xvector.splits),
        # The links lead to these.
        pages=expand(layout.page("{split}"), split=settings.xvector.splits),
        summaries=products.summaries(),
        scores=products.scores(),
    output:
        page=report(
            layout.overview,
            caption="../report/overview.rst",
            category="Embeddings",
            labels={"split": "(all of them)"},
        ),
    log:
        layout.log("draw_overview", "overview"),
    localrule: True
    conda:
        results_env
    params:
        # The script takes these from the settings; Snakemake draws anew when they change.
        with_labels=settings.xvector.labels,
        with_clusters=settings.xvector.clusters,
    script:
        "../../scripts/draw_overview.py"

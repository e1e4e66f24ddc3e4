"""The report page of a split.

Input: its tables, the note of its done-markers, and a sample of its embeddings. Output: a page,
which Snakemake's report includes.
"""


rule draw_report:
    """Draw maps, similarities, doubtful utterances, durations, speed and failures of a split."""
    input:
        # Says where the audio is.
        manifest=manifest_of,
        table=layout.table("{split}"),
        failures=layout.failures("{split}"),
        excluded=products.excluded(),
        labels=products.labels(),
        collected=layout.collected("{split}"),
    output:
        page=report(
            layout.page("{split}"),
            caption="../report/split.rst",
            category="Embeddings",
            labels={"split": "{split}"},
        ),
    log:
        layout.log("draw_report", "{split}"),
    localrule: True
    conda:
        results_env
    params:
        # The script takes these from the settings; Snakemake draws anew when they change.
        n_utterances=settings.xvector.report_utterances,
        with_tsne=settings.xvector.report_tsne,
        with_audio=settings.xvector.report_audio,
        with_labels=settings.xvector.labels,
    script:
        "../../scripts/draw_report.py"

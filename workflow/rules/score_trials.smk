"""Scores of trial lists.

Input: a trial list and the tables of embedded utterances. Output: a score per trial, error
rates, and a page that shows them.
"""


rule score_trials:
    """Score a trial list by cosine, normalized against a cohort if there is one."""
    input:
        trials=lambda wildcards: local(settings.xvector.trials[wildcards.trials]),
        tables=expand(layout.table("{split}"), split=settings.xvector.splits),
        # The tables may stay as they were when embeddings change.
        collected=expand(layout.collected("{split}"), split=settings.xvector.splits),
        cohort=products.cohort(),
    output:
        scores=layout.scores("{trials}"),
        error_rates=layout.error_rates("{trials}"),
        page=report(
            layout.trials_page("{trials}"),
            caption="../report/trials.rst",
            category="Trial lists",
            labels={"trials": "{trials}"},
        ),
    log:
        layout.log("score_trials", "{trials}"),
    localrule: True
    conda:
        results_env
    params:
        cohort=settings.xvector.cohort,
        cohort_size=settings.xvector.cohort_size,
    script:
        "../../scripts/score_trials.py"


rule score:
    """All trial lists are scored."""
    input:
        scores=wanted_scores,
    localrule: True

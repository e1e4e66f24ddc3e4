"""Score a trial list, and draw the page that shows the scores."""

from xvectors.config.resolving import resolve_config
from xvectors.report.trials_page import draw_trials
from xvectors.run.script_log import script_log
from xvectors.verification.scoring import score_trials

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        config = resolve_config(snakemake.config)
        reports = score_trials(config, snakemake.wildcards.trials)
        draw_trials(config, snakemake.wildcards.trials, reports)

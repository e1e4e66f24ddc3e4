"""Score a trial list and draw its page."""

from xvectors.run.step_server import hand_over

hand_over("pages")

from xvectors.report.trials_page import draw_trials
from xvectors.run.script_log import running
from xvectors.verification.scoring import score_trials

if __name__ == "__main__":
    with running(snakemake) as settings:
        reports = score_trials(settings, snakemake.wildcards.trials)
        draw_trials(settings, snakemake.wildcards.trials, reports)

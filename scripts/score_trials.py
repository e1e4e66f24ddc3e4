"""Score a trial list."""

from xvectors.config import resolve_config
from xvectors.results.scoring import score_list
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        score_list(resolve_config(snakemake.config), snakemake.wildcards.trials)

"""The configuration, checked, and the start and end of a run."""

import gc
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from omegaconf import OmegaConf
from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.errors import XVectorsError, as_error_lines, explained
from xvectors.run.python_path import share_package_with_jobs
from xvectors.run.slurm_workarounds import work_around_slurm
from xvectors.run.startup import start, start_job
from xvectors.run.step_server import leave_server

# The garbage collector would go through all imports again and again, last of all at the end.
gc.freeze()
work_around_slurm(workflow.is_main_process)
share_package_with_jobs()
# Where a module's prefix puts a path of a rule.
place = workflow.modifier.path_modifier.replace_prefix
given_by_hand = ["--config"] if workflow.config_settings.config else []
config_files = ", ".join([*map(str, workflow.configfiles), *given_by_hand])


def refuse(error: Exception) -> WorkflowError:
    """End the run with an error's message, or return it as the error of a module."""
    lines = as_error_lines(explained(error))
    # Snakemake would add the place in this file, which tells a user nothing.
    if not is_module:
        sys.exit(lines)
    return WorkflowError(lines)


def refusing(function: Callable[[Wildcards], Any]) -> Callable[[Wildcards], Any]:
    """Let an input function end the run with an error's message."""

    @wraps(function)
    def call(wildcards: Wildcards) -> Any:
        try:
            return function(wildcards)
        except (XVectorsError, OSError) as error:
            raise refuse(error) from None

    return call


def serve_steps(embeds_here: bool) -> None:
    """Let the steps that run here share their imports, unless they have environments of their own."""
    if not workflow.deployment_settings.deployment_method:
        embeds_here = embeds_here and workflow.resource_settings.nodes is None
        run.serve_steps(["snakemake.iocontainers", "snakemake.logging"], embeds_here)


def will_run() -> bool:
    """Tell whether this command will run jobs, as far as this is known before it has its graph."""
    # Commands that only look need no cores.
    given = workflow.resource_settings
    is_look = workflow.output_settings.dryrun or not (given.cores or given.nodes)
    return not is_look and not run.has_tables()


try:
    if workflow.is_main_process:
        storage_provider = workflow.storage_settings.default_storage_provider
        run = start(config, config_files, place, storage_provider)
        settings = run.settings
        run.quiet.kept.add(NOTHING_TO_BE_DONE_MSG)
        if not is_module:
            run.check()
            if will_run():
                serve_steps(True)
    else:
        leave_server()
        settings = start_job(config, config_files, place)
except (XVectorsError, OSError) as error:
    raise refuse(error) from None

# The rules' paths, to which Snakemake adds a module's prefix itself.
unplaced = resolve_config(config)
layout = Layout.of(unplaced)
manifest_paths = unplaced.xvector.manifest_paths
# Scripts read this.
config = OmegaConf.to_container(settings.as_omegaconf(), resolve=False)


shown = workflow.output_settings
is_quiet = not (
    shown.dryrun or shown.verbose or shown.debug_dag or shown.printshellcmds
)
if workflow.is_main_process and not is_module and is_quiet:
    # Commands that only look do not execute, and print what they find.
    handlers = workflow.logger_manager.logger.handlers
    run.quiet.attach(handlers, lambda: workflow.execution_settings is not None)


onstart:
    try:
        if workflow.is_main_process:
            run.begin()
            serve_steps(run.records.n_shards_to_run() != 0)
    except (XVectorsError, OSError) as error:
        raise refuse(error) from None


onsuccess:
    if workflow.is_main_process:
        run.end()


onerror:
    if workflow.is_main_process:
        run.end()

"""The imports of the steps of a run, done once for all of them."""

from xvectors.config.settings import Settings
from xvectors.config.toolkits import toolkit_named
from xvectors.job.gpu_lease import visible_gpus
from xvectors.tasks.outputs import makes_embeddings, runner_class

# For the imports: none asks the hub, or CUDA itself for GPUs.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
EVERY_RUN = (
    "xvectors.run.script_log",
    "xvectors.sharding.splitting",
    "xvectors.tasks.xvectors",
    "xvectors.results.collecting",
    "xvectors.results.speakers",
)
# The toolkits with PyTorch import these only when they load an encoder.
ENCODERS = ("xvectors.job.shard_job", "xvectors.encoders.encoder")
PAGES = ("xvectors.report.split_page", "xvectors.report.overview_page")


def modules_of_steps(settings: Settings, embeds_here: bool) -> list[str]:
    """Return the modules, the first needed first.

    Args:
        settings: The settings.
        embeds_here: Whether this machine has shards to embed.

    """
    modules = list(EVERY_RUN)
    if embeds_here and _is_on_cpu(settings) and makes_embeddings(runner_class(settings)):
        encoder = toolkit_named(settings.xvector.toolkit).encoder
        modules += [*ENCODERS, encoder.rpartition(".")[0]]
    if settings.xvector.report:
        modules += PAGES
    return modules


def _is_on_cpu(settings: Settings) -> bool:
    """Tell whether jobs embed on the CPU. CUDA need not survive a fork."""
    return settings.xvector.device == "cpu" or not visible_gpus()

"""The imports of the steps of a run, done once for all of them."""

from xvectors.config.settings import Settings
from xvectors.config.toolkits import toolkit_named
from xvectors.job.gpu_lease import visible_gpus
from xvectors.tasks.outputs import makes_embeddings, runner_class

# For the imports: none asks the hub, or CUDA itself for GPUs.
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
TABLES = (
    "xvectors.run.script_log",
    "xvectors.sharding.splitting",
    "xvectors.encoders.fetching",
    "xvectors.tasks.xvectors",
    "xvectors.results.collecting",
    "xvectors.results.speakers",
)
# The toolkits with PyTorch import these only when they load an encoder.
ENCODERS = ("xvectors.job.shard_job", "xvectors.encoders.encoder")
PAGES = ("xvectors.report.split_page", "xvectors.report.overview_page")


def modules_of_steps(settings: Settings, embeds_here: bool) -> dict[str, list[str]]:
    """Return what each process of the server imports, by the name that scripts use.

    `embeds_here` tells whether this machine has shards to embed.
    """
    encoders: list[str] = []
    if embeds_here and _is_on_cpu(settings) and makes_embeddings(runner_class(settings)):
        encoder = toolkit_named(settings.xvector.toolkit).encoder
        encoders = [*ENCODERS, encoder.rpartition(".")[0]]
    pages = list(PAGES) if settings.xvector.report else []
    return {"tables": list(TABLES), "encoders": encoders, "pages": pages}


def _is_on_cpu(settings: Settings) -> bool:
    """Tell whether jobs embed on the CPU. CUDA need not survive a fork."""
    return settings.xvector.device == "cpu" or not visible_gpus()

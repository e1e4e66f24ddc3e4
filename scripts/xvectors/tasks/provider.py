"""Providers: they build the environment of a runner, once per process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from xvectors.config.imports import import_class
from xvectors.config.settings import Settings

Environment = dict[str, Any]


class EnvironmentProvider(ABC):
    """Builds an environment, a dict from whose entries a runner's ``forward`` takes its arguments.

    The shard rules construct it as ``provider(config, params={"manifest_path": ...,
    "output_dir": ...})``.
    """

    def __init__(
        self, config: DictConfig | Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> None:
        self.config = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
        self.params = dict(params or {})

    @abstractmethod
    def build_env_local(self) -> Environment:
        """Build the environment (model, data, output folder) in this process."""

    @abstractmethod
    def build_worker_setup_fn(self) -> Callable[[], Environment]:
        """Return a function that builds the same environment in a worker.

        It must survive pickling, so it captures the configuration and the parameters, never
        ``self``: ``functools.partial`` over a function of a module does.
        """


def provider_class(settings: Settings) -> type[EnvironmentProvider]:
    """Return the provider that the settings name."""
    found: type[EnvironmentProvider] = import_class(settings.xvector.provider, "xvector.provider")
    return found

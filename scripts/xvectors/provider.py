"""Providers: what builds the environment that a runner works in, once per process."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from xvectors.config import import_class, resolve_config
from xvectors.errors import ConfigError, TaskError
from xvectors.fetching import fingerprint_of, locate_encoder
from xvectors.manifest import Column, Utterances, UtterancesOfSpeakers, locate_audio, read_manifest
from xvectors.provenance import Origin, make_recipe
from xvectors.run.run_lock import RUN_VARIABLE

Environment = dict[str, Any]


class EnvironmentProvider(ABC):
    """Builds an environment, a dict from whose entries a runner's ``forward`` takes its arguments.

    The shard rules construct it as ``provider(config, params={"manifest_path": ...,
    "output_dir": ...})``.
    """

    def __init__(
        self, config: DictConfig | Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> None:
        """Keep the configuration and the parameters of this job."""
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


def provider_class(config: DictConfig) -> type[EnvironmentProvider]:
    """Return the provider that a resolved configuration names."""
    found: type[EnvironmentProvider] = import_class(config.xvector.provider, "xvector.provider")
    return found


class XVectorProvider(EnvironmentProvider):
    """Builds the environment for speaker embeddings.

    The environment holds ``model`` (an `Encoder`), ``toolkit``, ``device``, ``utterances`` (a
    list of ``(utt_id, wav_path)``, the path ready to be opened), ``segments`` (for each of them
    the part of that file which it is, None for all), ``speaker_to_utterances`` (a dict from
    speaker to utt_ids), ``output_dir`` and ``origin`` (what the embeddings are made by). In the
    jobs of a run lists and dict are read from the manifest as they are asked for.
    """

    def build_env_local(self) -> Environment:
        """Load the encoder and the manifest, and make the output folder."""
        return _build_xvector_environment(self.config, self.params)

    def build_worker_setup_fn(self) -> Callable[[], Environment]:
        """Return a picklable function that does the same."""
        return partial(_build_xvector_environment, self.config, dict(self.params))


def _build_xvector_environment(config: DictConfig, params: Mapping[str, Any]) -> Environment:
    # Only here, as they import torch.
    from xvectors.encoders.device import choose_device  # noqa: PLC0415
    from xvectors.encoders.encoder import load_encoder  # noqa: PLC0415

    missing = {"manifest_path", "output_dir"} - set(params)
    if missing:
        raise TaskError(f"XVectorProvider: params lacks {', '.join(sorted(missing))}")
    config = resolve_config(config)
    xvector = config.xvector
    if xvector.pretrained_model is None:
        raise ConfigError("xvector.pretrained_model: XVectorProvider needs an encoder")
    path = Path(params["manifest_path"])
    # A run has checked its manifests before its jobs begin; they look up the lines that they
    # need, of what may be millions.
    is_job = RUN_VARIABLE in os.environ
    lines = Utterances(path) if is_job else read_manifest(path).utterances
    utterances = Column(lines, lambda one: (one.utt_id, locate_audio(path, one.wav_path)))
    segments = Column(lines, lambda one: one.segment)
    wav_paths = Column(lines, lambda one: one.wav_path)
    speakers = UtterancesOfSpeakers(lines)
    output_dir = Path(params["output_dir"])
    output_dir.mkdir(parents=True, exist_ok=True)
    source = locate_encoder(xvector.pretrained_model)
    device = choose_device(xvector.device)
    return {
        "model": load_encoder(xvector.toolkit, source, device, xvector.precision),
        "toolkit": xvector.toolkit,
        "device": device,
        "utterances": utterances if is_job else list(utterances),
        "segments": segments if is_job else list(segments),
        "speaker_to_utterances": speakers if is_job else dict(speakers),
        "output_dir": output_dir,
        "origin": Origin(make_recipe(config), fingerprint_of(source), wav_paths, segments),
    }

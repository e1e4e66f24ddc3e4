"""The configuration: defaults filled in, interpolation resolved, every key checked."""

import difflib
import importlib
import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xvectors.errors import ConfigError

logger = logging.getLogger(__name__)

SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.yaml"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
AVAILABLE_TOOLKITS = ("speechbrain",)


def resolve_config(raw: Mapping[str, Any] | DictConfig, source: str = "config") -> DictConfig:
    """Return the configuration with defaults, interpolation and types settled.

    Only ``data_dir`` and ``xvector`` are ours: whatever else `raw` holds (an ESPnet3
    ``training_config.yaml``, say) is passed on unresolved, except that
    ``parallel.n_workers`` is the default of ``xvector.n_shards``. Resolving twice changes
    nothing.

    Args:
        raw: The user's configuration, which need hold only what differs from the defaults.
        source: Where it comes from, for error messages.

    Raises:
        ConfigError: One line for every key that is unknown, ill-typed or out of range.

    """
    try:
        user = OmegaConf.create(raw if isinstance(raw, DictConfig) else dict(raw))
        OmegaConf.set_readonly(user, False)
        own = user.get("xvector") if "xvector" in user else OmegaConf.create({})
        if not isinstance(own, DictConfig):
            raise ConfigError(f"{source}: xvector: must be a map of settings")
        merged = OmegaConf.merge(_defaults(), user)
        if "n_shards" not in own:
            workers = OmegaConf.select(merged, "parallel.n_workers")
            if workers is not None:
                merged.xvector.n_shards = workers
        settings = {
            "data_dir": merged.data_dir,
            "xvector": OmegaConf.to_container(merged.xvector, resolve=True),
        }
    except OmegaConfBaseException as error:
        key = f" {error.full_key}:" if getattr(error, "full_key", None) else ""
        raise ConfigError(f"{source}:{key} {_first_line(error)}") from error
    settings = _read_as_typed(settings, _schema())
    xvector = settings["xvector"]
    if isinstance(xvector.get("splits"), str):
        xvector["splits"] = [xvector["splits"]]
    problems = [f"{source}: {problem}" for problem in _problems(settings)]
    if problems:
        raise ConfigError("\n".join(problems))
    if xvector["spk_embed_tag"] is None:
        xvector["spk_embed_tag"] = _default_tag(xvector["pretrained_model"], source)
    assert isinstance(merged, DictConfig)
    merged.data_dir = settings["data_dir"]
    merged.xvector = xvector
    return merged


def check_config(config: DictConfig, source: str = "config") -> None:
    """Check what a resolved configuration refers to: manifests, encoder, provider, runner.

    Raises:
        ConfigError: One line for every key that refers to something that is not there.

    """
    for key in set(config) & set(config.xvector):
        logger.warning("%s: %s has no effect there, it belongs under xvector", source, key)
    problems = [f"{source}: {problem}" for problem in _broken_references(config.xvector)]
    if problems:
        raise ConfigError("\n".join(problems))


def shards_of_split(config: DictConfig, split: str) -> int:
    """Return the number of shards of `split` in a resolved configuration."""
    n_shards = config.xvector.n_shards
    if isinstance(n_shards, DictConfig):
        return int(n_shards.get(split, _defaults()["xvector"]["n_shards"]))
    return int(n_shards)


def import_class(name: str, key: str) -> type:
    """Return the class that ``package.module.Class`` names.

    Raises:
        ConfigError: It cannot be imported; the message names the configuration's `key`.

    """
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{key}: cannot import {name!r} ({error}); put its folder on PYTHONPATH"
        ) from error
    if not isinstance(found, type):
        raise ConfigError(f"{key}: {name!r} is no class")
    return found


def is_local(pretrained_model: str) -> bool:
    """Tell whether `pretrained_model` is a path rather than a hub id."""
    return Path(pretrained_model).exists() or not HUB_ID.fullmatch(pretrained_model)


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return schema


def _defaults() -> dict[str, Any]:
    """Return a fresh copy of the schema's defaults, interpolation unresolved."""
    properties = _schema()["properties"]
    keys = properties["xvector"]["properties"]
    return {
        "data_dir": properties["data_dir"]["default"],
        "xvector": {key: entry["default"] for key, entry in keys.items()},
    }


def _default_tag(pretrained_model: str | None, source: str) -> str:
    if pretrained_model is None:
        raise ConfigError(f"{source}: xvector.spk_embed_tag: give one, as pretrained_model is null")
    name = pretrained_model if Path(pretrained_model).exists() else pretrained_model.split("@")[0]
    return Path(name).resolve().name if is_local(name) else name.rsplit("/", 1)[-1]


def _read_as_typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return `value` with the strings of ``--config`` read as what the schema asks for.

    Snakemake hands ``--config xvector='{batch_size: 7}'`` over as ``{"batch_size": "7"}``.
    """
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        for alternative in schema.get("anyOf", []):
            others = others or alternative.get("additionalProperties", {})
        return {
            key: _read_as_typed(item, properties.get(key, others)) for key, item in value.items()
        }
    if isinstance(value, str) and not _is_valid(value, schema):
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        return read if _is_valid(read, schema) else value
    return value


def _is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def _problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield ``key: what is wrong`` for everything in which `settings` break the schema."""
    validator = jsonschema.Draft202012Validator(_schema())
    for error in sorted(validator.iter_errors(settings), key=lambda error: error.json_path):
        key = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = list(error.schema["properties"])
            for unknown in sorted(set(error.instance) - set(known), key=str):
                close = difflib.get_close_matches(str(unknown), known, n=1)
                hint = f", did you mean {close[0]}?" if close else f" ({', '.join(known)})"
                yield f"{key}.{unknown}: unknown key{hint}"
        else:
            yield f"{key}: {_complaint(error)}"


def _complaint(error: jsonschema.ValidationError) -> str:
    """Return in the user's words what a value breaks."""
    value = error.instance
    allowed: Any = error.validator_value
    if error.validator == "type":
        wanted = " or ".join([allowed] if isinstance(allowed, str) else allowed)
        return f"must be {wanted}, not {value!r}"
    if error.validator == "enum":
        return f"must be one of {', '.join(allowed)}, not {value!r}"
    if error.validator == "anyOf":
        return (
            f"must be an integer from 1 on, or a map from split to such an integer, not {value!r}"
        )
    return error.message


def _broken_references(xvector: DictConfig) -> Iterator[str]:
    for split in xvector.splits:
        manifest = xvector.manifest_paths.get(split)
        if manifest is None:
            yield f"xvector.manifest_paths.{split}: split {split!r} has no manifest"
        elif not Path(manifest).is_file():
            yield f"xvector.manifest_paths.{split}: no such manifest: {manifest}"
    if isinstance(xvector.n_shards, DictConfig):
        for split in set(xvector.n_shards) - set(xvector.splits):
            yield f"xvector.n_shards.{split}: no such split in xvector.splits"
    if xvector.toolkit not in AVAILABLE_TOOLKITS:
        yield f"xvector.toolkit: {xvector.toolkit} is not supported yet, use speechbrain"
    model = xvector.pretrained_model
    if model is not None and is_local(model) and not Path(model).exists():
        yield (
            f"xvector.pretrained_model: no such folder: {model} "
            "(give a folder that is there, or a hub id such as speechbrain/spkrec-ecapa-voxceleb)"
        )
    for key in ("provider", "runner"):
        try:
            import_class(xvector[key], f"xvector.{key}")
        except ConfigError as error:
            yield str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

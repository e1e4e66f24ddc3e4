"""The configuration: defaults filled in, interpolation resolved, every key checked."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xvectors.config.toolkits import TOOLKITS, is_local
from xvectors.errors import ConfigError, first_line

SCHEMA = Path(__file__).resolve().parents[3] / "workflow" / "schemas" / "config.schema.yaml"
MAX_ENTRIES = 100_000
MAX_DEPTH = 50
# What `--config` makes of null, too.
UNSET = (None, "null")


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
        user = raw if isinstance(raw, DictConfig) else _as_omegaconf(raw, source)
        own = _own_section(user, source)
        merged = OmegaConf.merge(_defaults(), _other_sections(user, source) | {"xvector": own})
        workers = OmegaConf.select(merged, "parallel.n_workers")
        if workers is not None and "n_shards" not in own:
            merged.xvector.n_shards = _checked_workers(workers, source)
        toolkit = TOOLKITS.get(str(merged.xvector.toolkit))
        if "pretrained_model" not in own and toolkit is not None:
            merged.xvector.pretrained_model = toolkit.default_model
        model = merged.xvector.pretrained_model
        if merged.xvector.spk_embed_tag in UNSET and isinstance(model, str) and model not in UNSET:
            merged.xvector.spk_embed_tag = _default_tag(model)
        xvector = OmegaConf.to_container(merged.xvector, resolve=True)
    except OmegaConfBaseException as error:
        key = f" {error.full_key}:" if getattr(error, "full_key", None) else ""
        raise ConfigError(f"{source}:{key} {first_line(error)}") from error
    settings = _read_as_typed({"xvector": xvector}, _schema())
    xvector = settings["xvector"]
    if isinstance(xvector.get("splits"), str):
        xvector["splits"] = [xvector["splits"]]
    problems = [f"{source}: {problem}" for problem in schema_problems(settings, _schema())]
    if xvector["spk_embed_tag"] is None and not problems:
        reason = "spk_embed_tag: give one, as pretrained_model is null"
        if "pretrained_model" not in own:
            reason = f"pretrained_model: give one, toolkit {xvector['toolkit']} has no default"
        problems = [f"{source}: xvector.{reason}"]
    if problems:
        raise ConfigError("\n".join(problems))
    assert isinstance(merged, DictConfig)
    for split in (*xvector["splits"], *xvector["corpora"]):
        if split not in xvector["manifest_paths"]:
            xvector["manifest_paths"][split] = f"{_data_dir(merged, source)}/manifest/{split}.tsv"
    if workers is not None and isinstance(xvector["n_shards"], dict):
        others = dict.fromkeys(xvector["splits"], _checked_workers(workers, source))
        xvector["n_shards"] = others | xvector["n_shards"]
    merged.xvector = xvector
    return merged


def shards_of_split(config: DictConfig, split: str) -> int:
    """Return the number of shards of `split` in a resolved configuration."""
    n_shards = config.xvector.n_shards
    if isinstance(n_shards, DictConfig):
        return int(n_shards.get(split, _defaults()["xvector"]["n_shards"]))
    return int(n_shards)


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return schema


def corpus_schema() -> dict[str, Any]:
    """Return the schema of one of the configuration's corpora."""
    keys = _schema()["properties"]["xvector"]["properties"]
    schema: dict[str, Any] = keys["corpora"]["additionalProperties"]
    return schema


def _defaults() -> dict[str, Any]:
    """Return a fresh copy of the schema's defaults, interpolation unresolved."""
    properties = _schema()["properties"]
    keys = properties["xvector"]["properties"]
    return {
        "data_dir": properties["data_dir"]["default"],
        "xvector": {key: entry["default"] for key, entry in keys.items()},
    }


def _as_omegaconf(raw: Mapping[str, Any], source: str) -> DictConfig:
    """Return `raw` without the sections of others that OmegaConf cannot hold (dates, say)."""
    _check_size(raw, source)
    config = OmegaConf.create()
    for key, value in raw.items():
        try:
            config[key] = value
        except OmegaConfBaseException:
            if key in _schema()["properties"]:
                raise
    return config


def _check_size(raw: Mapping[str, Any], source: str) -> None:
    """Refuse what YAML's aliases make of a few lines: maps without end, or millions of entries."""
    waiting: list[tuple[Any, int]] = [(raw, 0)]
    n_entries = 0
    while waiting:
        value, depth = waiting.pop()
        n_entries += 1
        if n_entries > MAX_ENTRIES or depth > MAX_DEPTH:
            raise ConfigError(
                f"{source}: has more than {MAX_ENTRIES:,} entries, or more than {MAX_DEPTH} "
                "within each other"
            )
        children = value.values() if isinstance(value, Mapping) else value
        if isinstance(value, Mapping | list | tuple):
            waiting += [(child, depth + 1) for child in children]


def _own_section(user: DictConfig, source: str) -> dict[str, Any]:
    """Return what the user has written under ``xvector``, interpolation unresolved."""
    own = user.get("xvector")
    if own is None:
        return {}
    if not isinstance(own, DictConfig):
        raise ConfigError(f"{source}: xvector: must be a map of settings")
    section = OmegaConf.to_container(own, resolve=False)
    assert isinstance(section, dict)
    for key, value in (("manifest_paths", "path"), ("corpora", "corpus")):
        given = section.get(key, {})
        if not isinstance(given, dict) and not (isinstance(given, str) and "${" in given):
            raise ConfigError(f"{source}: xvector.{key}: must be a map from split to {value}")
    return {str(key): value for key, value in section.items()}


def _other_sections(user: DictConfig, source: str) -> dict[str, Any]:
    sections = OmegaConf.to_container(user, resolve=False)
    assert isinstance(sections, dict)
    data_dir = sections.get("data_dir", "")
    if not isinstance(data_dir, str | int):
        raise ConfigError(f"{source}: data_dir: must be string, not {data_dir!r}")
    return {str(key): value for key, value in sections.items() if key != "xvector"}


def _data_dir(config: DictConfig, source: str) -> str:
    try:
        return str(config.data_dir)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{source}: data_dir: {first_line(error)}") from error


def _checked_workers(workers: Any, source: str) -> int:
    schema = {"type": "integer", "minimum": 1}
    number = _read_as_typed(workers, schema)
    if not _is_valid(number, schema):
        raise ConfigError(f"{source}: parallel.n_workers: must be an integer from 1 on")
    return int(number)


def _default_tag(pretrained_model: str) -> str:
    is_path = is_local(pretrained_model)
    name = pretrained_model if is_path else pretrained_model.partition("@")[0]
    return name.rstrip("/").rpartition("/")[-1]


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
    if value == "null" and "null" in schema.get("type", ()):
        return None
    if _is_valid(value, schema):
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, str):
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        return read if _is_valid(read, schema) else value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number and _is_valid(str(value), schema) else value


def _is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def schema_problems(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield ``key: what is wrong`` for everything in which `settings` break `schema`."""
    validator = jsonschema.Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(settings), key=lambda error: error.json_path):
        key = _key(error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = list(error.schema["properties"])
            for unknown in sorted(set(error.instance) - set(known), key=str):
                close = difflib.get_close_matches(str(unknown), known, n=1)
                hint = f", did you mean {close[0]}?" if close else f" ({', '.join(known)})"
                yield f"{_key((key, unknown))}: unknown key{hint}"
        else:
            yield f"{key}: {_problem(error)}"


def _key(parts: Iterable[Any]) -> str:
    """Return a key's path in a line."""
    return ".".join(map(str, parts)).replace("\n", "\\n")


def _problem(error: jsonschema.ValidationError) -> str:
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

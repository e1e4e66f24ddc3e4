"""The configuration as settings: defaults filled in, interpolation resolved, every key checked."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from xvectors.config.paths import expand_path
from xvectors.config.settings import (
    MAPS,
    Corpus,
    Count,
    Frontend,
    Settings,
    XVectorSettings,
    shown,
)
from xvectors.config.toolkits import TOOLKITS, can_use_gpu, is_local
from xvectors.errors import ConfigError, first_line

MAX_ENTRIES = 100_000
MAX_DEPTH = 50
# --config passes null as text.
UNSET = (None, "null")
OWN_SECTIONS = ("data_dir", "xvector")
# Sections of ESPnet3's recipes. A file that has one of them may have any others too.
ESPNET3_SECTIONS = {
    "task",
    "recipe_dir",
    "create_dataset",
    "remove_long_short",
    "dataset",
    "trainer",
    "parallel",
}
# The defaults of ESPnet3's own templates, for a recipe's file that is given without a template.
ESPNET3_DEFAULTS = {"toolkit": "espnet", "pretrained_model": "espnet/voxcelebs12_rawnet3"}
# Similarity to "xvector" from which a section's name counts as misspelt. The second one is for a
# section that holds settings, in a file without `xvector`.
LIKENESS = 0.9
LIKENESS_WITH_SETTINGS = 0.7


def resolve_config(raw: Mapping[str, Any] | DictConfig, source: str = "config") -> Settings:
    """Return the settings that a configuration asks for.

    Only ``data_dir`` and ``xvector`` are read. Other sections, such as those of an ESPnet3
    ``training_config.yaml``, are kept unresolved for providers. One exception:
    ``parallel.n_workers`` is the default of ``xvector.n_shards``. Resolving `as_omegaconf` of
    the result gives the same settings.

    Args:
        raw: The user's configuration. Keys that it leaves out have their defaults.
        source: Where it comes from, for error messages.

    Raises:
        ConfigError: One line for every key that is unknown, ill-typed or out of range.

    """
    problems = [f"{source}: {problem}" for problem in _misplaced(raw)]
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        user = raw if isinstance(raw, DictConfig) else _as_omegaconf(raw, source)
        own = _own_section(user, source)
        missing_here = _espnet3_defaults(set(map(str, user)), own)
        own = missing_here | own
        others = _other_sections(user, source)
        merged = OmegaConf.merge(_defaults(), others | {"xvector": own})
        assert isinstance(merged, DictConfig)
        if "n_shards" not in own:
            merged.xvector.n_shards = _workers(merged, source) or merged.xvector.n_shards
        _refuse_espnet3_model(merged, missing_here, source)
        _fill_in_dependent_defaults(merged, own)
        xvector: Any = OmegaConf.to_container(merged.xvector, resolve=True)
    except OmegaConfBaseException as error:
        key = f" {error.full_key}:" if getattr(error, "full_key", None) else ""
        raise ConfigError(f"{source}:{key} {first_line(error)}") from error
    checked = _checked(xvector, "pretrained_model" in own, source)
    manifest_paths = dict(checked.manifest_paths)
    missing = [
        split for split in (*checked.splits, *checked.corpora) if split not in manifest_paths
    ]
    data_dir = _data_dir(merged, source, is_needed=bool(missing))
    for split in missing:
        manifest_paths[split] = f"{data_dir}/manifest/{split}.tsv"
    changes: dict[str, Any] = {"manifest_paths": manifest_paths}
    if isinstance(checked.n_shards, Mapping) and (workers := _workers(merged, source)):
        changes["n_shards"] = {**dict.fromkeys(checked.splits, workers), **checked.n_shards}
    settings = Settings(data_dir=data_dir, xvector=checked.model_copy(update=changes))
    notes = [
        f"xvector.{key} is not given, taking ESPnet3's default: {missing_here[key]}"
        for key in ESPNET3_DEFAULTS
        if key in missing_here
    ]
    return settings.with_context({"data_dir": _defaults()["data_dir"]} | others, notes)


def setting_problems(model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """Return ``key: problem`` for everything in `given` that a section of settings refuses."""
    try:
        model.model_validate(given)
    except ValidationError as error:
        return list(_problems(error, model))
    return []


def require_config(raw: Mapping[str, Any]) -> None:
    """Refuse to run without any configuration.

    Raises:
        ConfigError: `raw` is empty.

    """
    if not raw:
        raise ConfigError(
            "no configuration: give --configfile my.yaml (from the repository's folder the demo "
            "runs without one)"
        )


def _espnet3_defaults(sections: set[str], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of ESPnet3's gets for settings that it leaves out."""
    if not sections & ESPNET3_SECTIONS:
        return {}
    defaults: dict[str, Any] = dict(ESPNET3_DEFAULTS)
    # Packs and the outputs of other runners cannot be linked.
    if own.get("storage") != "packed" and "runner" not in own:
        defaults["exports"] = ["espnet3"]
    return {key: value for key, value in defaults.items() if key not in own}


def _refuse_espnet3_model(merged: DictConfig, missing: Mapping[str, Any], source: str) -> None:
    """Refuse ESPnet3's default encoder for a toolkit that it is not of."""
    toolkit, own = str(merged.xvector.toolkit), ESPNET3_DEFAULTS["toolkit"]
    if "pretrained_model" in missing and toolkit in TOOLKITS and toolkit != own:
        raise ConfigError(
            f"{source}: xvector.pretrained_model: give one for toolkit {toolkit}: ESPnet3's "
            f"default, {missing['pretrained_model']}, is an encoder of {own}"
        )


def _misplaced(raw: Mapping[Any, Any]) -> Iterator[str]:
    """Yield ``section: problem`` for sections that were meant as settings."""
    sections = {str(name): name for name in raw}
    if sections.keys() & ESPNET3_SECTIONS:
        return
    for name in sorted(sections.keys() - set(OWN_SECTIONS)):
        section, _, key = name.partition(".")
        if section == "xvector" and key:
            yield f"{name}: write it as a map, xvector: {{{key}: ...}}"
        elif name in XVectorSettings.model_fields:
            yield f"{name}: belongs under xvector (--config xvector='{{{name}: ...}}')"
        elif _is_misspelt(name, "xvector" not in raw and _holds_settings(raw, sections[name])):
            yield f"{name}: unknown section, did you mean xvector?"


def _is_misspelt(name: str, holds_settings: bool) -> bool:
    likeness = LIKENESS_WITH_SETTINGS if holds_settings else LIKENESS
    return bool(difflib.get_close_matches(name.lower(), ["xvector"], cutoff=likeness))


def _holds_settings(raw: Mapping[Any, Any], section: Any) -> bool:
    """Tell whether a section is a map with the name of a setting in it."""
    try:
        value = raw[section]
    except OmegaConfBaseException:
        return False
    return isinstance(value, Mapping | DictConfig) and any(
        key in XVectorSettings.model_fields for key in value
    )


def _defaults() -> dict[str, Any]:
    """Return the defaults, interpolation unresolved."""
    fields = XVectorSettings.model_fields
    return {
        "data_dir": Settings.model_fields["data_dir"].default,
        "xvector": {
            name: None if field.is_required() else field.default for name, field in fields.items()
        },
    }


def _as_omegaconf(raw: Mapping[str, Any], source: str) -> DictConfig:
    """Return `raw` without the sections of others that OmegaConf cannot hold (dates, say)."""
    _check_size(raw, source)
    config = OmegaConf.create()
    for key, value in raw.items():
        try:
            config[key] = value
        except OmegaConfBaseException:
            if key in OWN_SECTIONS:
                raise
    return config


def _check_size(raw: Mapping[str, Any], source: str) -> None:
    """Refuse the endless maps and millions of entries that a few YAML aliases can make."""
    waiting: list[tuple[Any, int]] = [(raw, 0)]
    n_entries = 0
    while waiting:
        value, depth = waiting.pop()
        n_entries += 1
        if n_entries > MAX_ENTRIES or depth > MAX_DEPTH:
            raise ConfigError(
                f"{source}: more than {MAX_ENTRIES:,} entries, or nested more than {MAX_DEPTH} "
                "levels deep"
            )
        children = value.values() if isinstance(value, Mapping) else value
        if isinstance(value, Mapping | list | tuple):
            waiting += [(child, depth + 1) for child in children]


def _own_section(user: DictConfig, source: str) -> dict[str, Any]:
    """Return what the user has written under ``xvector``, interpolation unresolved."""
    try:
        own = user.get("xvector")
    except OmegaConfBaseException as error:
        raise ConfigError(f"{source}: xvector: {first_line(error)}") from error
    if own is None:
        return {}
    if not isinstance(own, DictConfig):
        raise ConfigError(f"{source}: xvector: must be a map of settings")
    content = OmegaConf.to_container(own, resolve=False)
    assert isinstance(content, dict)
    section = {str(key): value for key, value in content.items()}
    for key, given in section.items():
        if problem := _container_problem(key, given):
            raise ConfigError(f"{source}: xvector.{key}: {problem}")
    return section


def _container_problem(key: str, given: Any) -> str | None:
    """Return why OmegaConf could not merge a setting with its default, or None."""
    field = XVectorSettings.model_fields.get(key)
    if field is None or (isinstance(given, str) and "${" in given):
        return None
    if isinstance(field.default, Mapping) and not isinstance(given, dict):
        return f"must be a map from {MAPS[key]}, not {shown(given)}"
    if isinstance(field.default, tuple) and isinstance(given, dict):
        return f"must be a list, not {shown(given)}"
    return None


def _other_sections(user: DictConfig, source: str) -> dict[str, Any]:
    """Return what the user has written elsewhere, interpolation unresolved."""
    sections = OmegaConf.to_container(user, resolve=False)
    assert isinstance(sections, dict)
    data_dir = sections.get("data_dir", "")
    if not isinstance(data_dir, str | int):
        raise ConfigError(f"{source}: data_dir: must be a path, not {shown(data_dir)}")
    return {str(key): value for key, value in sections.items() if key != "xvector"}


def _workers(merged: DictConfig, source: str) -> int | None:
    """Return ``parallel.n_workers``, None where it is not given."""
    try:
        workers = OmegaConf.select(merged, "parallel.n_workers")
        return None if workers is None else TypeAdapter(Count).validate_python(workers)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{source}: parallel.n_workers: {first_line(error)}") from error
    except ValidationError as error:
        raise ConfigError(f"{source}: parallel.n_workers: {error.errors()[0]['msg']}") from error


def _fill_in_dependent_defaults(merged: DictConfig, own: Mapping[str, Any]) -> None:
    """Set the toolkit's default encoder, its device, and the tag that follows from an encoder."""
    xvector = merged.xvector
    toolkit = TOOLKITS.get(str(xvector.toolkit))
    if "pretrained_model" not in own and toolkit is not None:
        xvector.pretrained_model = toolkit.default_model
    if xvector.device in UNSET and not can_use_gpu(str(xvector.toolkit)):
        xvector.device = "cpu"
    model = xvector.pretrained_model
    if xvector.spk_embed_tag in UNSET and isinstance(model, str) and model not in UNSET:
        xvector.spk_embed_tag = _default_tag(model)


def _default_tag(pretrained_model: str) -> str:
    is_path = is_local(expand_path(pretrained_model))
    name = pretrained_model if is_path else pretrained_model.partition("@")[0]
    return name.rstrip("/").rpartition("/")[-1]


def _data_dir(merged: DictConfig, source: str, is_needed: bool) -> str | None:
    try:
        data_dir = expand_path(str(merged.data_dir))
    except OmegaConfBaseException as error:
        if not is_needed:
            return None
        raise ConfigError(f"{source}: data_dir: {first_line(error)}") from error
    if not data_dir:
        raise ConfigError(f"{source}: data_dir: must be a path, not ''")
    return data_dir


def _checked(xvector: dict[str, Any], has_model: bool, source: str) -> XVectorSettings:
    has_tag = xvector["spk_embed_tag"] not in UNSET
    given = xvector if has_tag else xvector | {"spk_embed_tag": "unknown"}
    try:
        checked = XVectorSettings.model_validate(given)
    except ValidationError as error:
        problems = list(_problems(error, XVectorSettings))
    else:
        if has_tag:
            return checked
        problems = ["spk_embed_tag: give one, because pretrained_model is null"]
        if not has_model:
            problems = [f"pretrained_model: give one, toolkit {checked.toolkit} has no default"]
    raise ConfigError("\n".join(f"{source}: xvector.{problem}" for problem in problems))


def _problems(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        yield f"{key}: {_problem(problem, model)}".replace("\n", "\\n")


def _problem(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """Return in the user's words what is wrong with a value."""
    kind, value = problem["type"], problem["input"]
    if kind in ("extra_forbidden", "invalid_key"):
        section, name = problem["loc"][:-1], str(problem["loc"][-1])
        inner = Frontend if "frontend" in section else Corpus
        known = list((inner if section else model).model_fields)
        close = difflib.get_close_matches(name, known, n=1)
        if name == "data_dir":
            return "belongs at the top level, outside xvector"
        hint = f", did you mean {close[0]}?" if close else f" ({', '.join(known)})"
        return f"unknown key{hint}"
    if kind == "missing":
        return "give one"
    if kind == "literal_error":
        expected = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"must be one of {expected}, not {shown(value)}"
    if kind in ("model_type", "tuple_type"):
        wanted = "a map of settings" if kind == "model_type" else "a list"
        return f"must be {wanted}, not {shown(value)}"
    return problem["msg"]

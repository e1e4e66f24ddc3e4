"""Checks before any job starts: everything that the configuration refers to."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from xvectors.config.imports import import_class
from xvectors.config.layout import Layout
from xvectors.config.settings import Settings, XVectorSettings
from xvectors.config.toolkits import (
    TOOLKITS,
    can_use_gpu,
    is_local,
    local_path,
    precision_problem,
    require_packages,
    toolkit_named,
)
from xvectors.corpora.kinds import changed_folder, corpus_problems
from xvectors.errors import ConfigError, EncoderError, ManifestError, TrialsError, first_line
from xvectors.manifest.lines import has_control_character
from xvectors.manifest.reading import hash_manifest, read_manifest_once
from xvectors.sharding.index_shards import read_plan
from xvectors.tasks.outputs import can_pack, makes_embeddings
from xvectors.tasks.provider import EnvironmentProvider
from xvectors.tasks.runner import BaseRunner
from xvectors.tasks.xvectors import XVectorProvider
from xvectors.verification.trials import check_trials, read_trials

logger = logging.getLogger(__name__)

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Beginnings of files that a failed download leaves in place of a checkpoint.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
HTML_STARTS = (b"<!doctype html", b"<html")
HTML_SUFFIXES = (".html", ".htm")
HEAD_BYTES = 200


def check_config(
    settings: Settings, source: str = "config", to_be_made: Collection[str] = ()
) -> None:
    """Check that the manifests, the encoder and the classes of the settings exist.

    Args:
        settings: The settings.
        source: Where they come from, for error messages.
        to_be_made: Manifests that need not be there, because the same run makes them.

    Raises:
        ConfigError: One line for every key that refers to something missing or unusable.

    """
    for note in settings.notes:
        logger.warning("%s: %s", source, note)
    problems = _broken_references(settings.xvector, to_be_made)
    if lines := [f"{source}: {problem}" for problem in problems]:
        raise ConfigError("\n".join(lines))


def check_manifests(settings: Settings, to_be_made: Collection[str] = ()) -> None:
    """Check the manifests that have changed since they were split, except those `to_be_made`.

    Raises:
        ManifestError: One line for every line that is wrong, of all manifests.

    """
    problems = []
    for split in settings.xvector.splits:
        path = Path(settings.xvector.manifest_paths[split])
        is_to_be_made = split in settings.xvector.corpora or str(path) in to_be_made
        if is_to_be_made and not path.exists():
            continue  # The run will make it.
        plan = read_plan(Layout.of(settings).plan(split))
        if plan is None or plan.manifest != hash_manifest(path):
            try:
                for warning in read_manifest_once(path).warnings:
                    logger.warning("%s", warning)
            except ManifestError as error:
                problems.append(str(error))
    if problems:
        raise ManifestError("\n".join(problems))
    for note in _changed_corpora(settings):
        logger.warning("%s", note)
    _check_trials(settings)


def _changed_corpora(settings: Settings) -> Iterator[str]:
    """Yield a line for each corpus that may have files that its manifest does not list."""
    root = Layout.of(settings).root.absolute()
    for split in settings.xvector.splits:
        manifest = Path(settings.xvector.manifest_paths[split])
        if split not in settings.xvector.corpora or not manifest.exists():
            continue
        folder = changed_folder(settings.xvector.corpora[split].given(), manifest, [root])
        if folder is not None:
            yield (
                f"xvector.corpora.{split}: {folder} has changed since {manifest} was made. To list "
                f"the corpus again, add --forcerun make_manifest_{split} to the command"
            )


def _check_trials(settings: Settings) -> None:
    """Check the trial lists that have not been scored since they changed.

    Raises:
        TrialsError: A list names an utterance that is in no manifest.

    """
    xvector, layout = settings.xvector, Layout.of(settings)
    manifests = [Path(xvector.manifest_paths[split]) for split in xvector.splits]
    lists = {layout.scores(name): Path(path) for name, path in xvector.trials.items()}
    new = [
        path
        for scores, path in lists.items()
        if not scores.exists() or scores.stat().st_mtime_ns < path.stat().st_mtime_ns
    ]
    # A manifest that is made from a corpus may not be there yet.
    if new and all(manifest.exists() for manifest in manifests):
        check_trials(new, manifests)


def _broken_references(xvector: XVectorSettings, to_be_made: Collection[str]) -> Iterator[str]:
    unusable = list(_unusable_paths(xvector))
    if unusable:
        yield from unusable
        return
    yield from _broken_manifests(xvector, to_be_made)
    if isinstance(xvector.n_shards, Mapping):
        for split in set(xvector.n_shards) - set(xvector.splits) - set(xvector.manifest_paths):
            yield f"xvector.n_shards.{split}: no such split"
    yield from _broken_trials(xvector)
    yield from _broken_exports(xvector)
    yield from _broken_model(xvector)
    yield from _broken_folder(Path(xvector.save_path, xvector.spk_embed_tag))
    yield from _broken_classes(xvector)


def _unusable_paths(xvector: XVectorSettings) -> Iterator[str]:
    """Yield problems of the configuration's paths themselves."""
    paths = {"save_path": xvector.save_path, "spk_embed_tag": xvector.spk_embed_tag}
    if xvector.pretrained_model is not None:
        paths["pretrained_model"] = xvector.pretrained_model
    paths |= {f"manifest_paths.{split}": path for split, path in xvector.manifest_paths.items()}
    paths |= {f"trials.{name}": path for name, path in xvector.trials.items()}
    for key, path in paths.items():
        if URL.match(path):
            yield (
                f"xvector.{key}: {path} is a URL; give a path: files are read, renamed and locked "
                "on a file system"
            )
        if set(path) & set("{}"):
            yield f"xvector.{key}: {path} has a brace, which Snakemake takes for a wildcard"
        if has_control_character(path):
            yield f"xvector.{key}: {path!r} has a control character"
        try:
            Path(path).exists()
        except (OSError, ValueError) as error:
            yield f"xvector.{key}: {first_line(error)}"


def _broken_exports(xvector: XVectorSettings) -> Iterator[str]:
    if "espnet3" in xvector.exports and xvector.storage == "packed":
        yield (
            "xvector.exports: espnet3 links .pt files, which storage: packed does not write; "
            "set storage: files, or leave espnet3 out"
        )


def _broken_classes(xvector: XVectorSettings) -> Iterator[str]:
    classes: list[tuple[str, str, type]] = [
        ("provider", xvector.provider, EnvironmentProvider),
        ("runner", xvector.runner, BaseRunner),
    ]
    for key, name, base in classes:
        try:
            found = import_class(name, f"xvector.{key}")
        except ConfigError as error:
            yield str(error)
            continue
        if problem := _class_problem(found, base):
            yield f"xvector.{key}: {name} {problem}"
        elif key == "runner":
            yield from _broken_products(xvector, found)


def _broken_products(xvector: XVectorSettings, runner: type[BaseRunner]) -> Iterator[str]:
    """Yield problems of settings that need other outputs than the runner's."""
    if xvector.storage == "packed" and not can_pack(runner):
        yield f"xvector.storage: {xvector.runner} writes files of its own, not packs"
    if not makes_embeddings(runner):
        for product in ("exports", "trials", "labels", "clusters"):
            if getattr(xvector, product):
                yield f"xvector.{product}: {xvector.runner} leaves no speaker embeddings"


def _broken_manifests(xvector: XVectorSettings, to_be_made: Collection[str]) -> Iterator[str]:
    for split, path in xvector.manifest_paths.items():
        others = [other for other in xvector.corpora if xvector.manifest_paths[other] == path]
        if split in others and others[0] != split:
            yield f"xvector.corpora.{split}: its manifest, {path}, is that of {others[0]} too"
    for split in xvector.splits:
        manifest = xvector.manifest_paths[split]
        if split in xvector.corpora:
            for problem in corpus_problems(xvector.corpora[split].given(), Path(manifest)):
                yield f"xvector.corpora.{split}.{problem}"
        elif Path(manifest).is_dir():
            yield (
                f"xvector.manifest_paths.{split}: {manifest} is a folder: name it as a corpus, "
                f"xvector.corpora: {{{split}: {{kind: ..., path: {manifest}}}}}"
            )
        elif manifest not in to_be_made and not Path(manifest).is_file():
            yield f"xvector.manifest_paths.{split}: no such manifest: {manifest}"


def _broken_trials(xvector: XVectorSettings) -> Iterator[str]:
    for name, path in xvector.trials.items():
        if not Path(path).is_file():
            yield f"xvector.trials.{name}: no such trial list: {path}"
            continue
        try:
            read_trials(Path(path))
        except TrialsError as error:
            for line in str(error).splitlines():
                yield f"xvector.trials.{name}: {line}"
    if xvector.cohort is not None and xvector.cohort not in xvector.splits:
        yield f"xvector.cohort: {xvector.cohort} is not one of xvector.splits"


def _broken_model(xvector: XVectorSettings) -> Iterator[str]:
    model, needs_encoder = xvector.pretrained_model, _needs_encoder(xvector.provider)
    if needs_encoder:
        try:
            toolkit = toolkit_named(xvector.toolkit)
        except EncoderError as error:
            yield f"xvector.toolkit: {error}"
            return  # its default encoder may come with the package that is missing
        if problem := precision_problem(xvector.toolkit, xvector.precision):
            yield f"xvector.precision: {problem}"
        if xvector.device != "cpu" and not can_use_gpu(xvector.toolkit):
            yield (
                f"xvector.device: {xvector.toolkit} needs {toolkit.gpu_package} for a GPU; install "
                "it, or use xvector.device: cpu"
            )
        if xvector.frontend and not toolkit.has_frontend:
            yield f"xvector.frontend: {xvector.toolkit} has its own front end; leave the key out"
    if xvector.vad is not None:
        yield from _broken_vad(xvector, needs_encoder)
    if model is None:
        if needs_encoder:
            yield "xvector.pretrained_model: XVectorProvider needs an encoder, not null"
    elif is_local(model) and Path(model).is_symlink() and not Path(model).exists():
        yield f"xvector.pretrained_model: {_dead_link(Path(model))}"
    elif is_local(model) and not local_path(model).exists():
        yield (
            f"xvector.pretrained_model: no such folder or file: {model} "
            "(give one that is there, or a hub id such as speechbrain/spkrec-ecapa-voxceleb)"
        )
    elif needs_encoder and is_local(model):
        path = local_path(model)
        problem = TOOLKITS[xvector.toolkit].problem(path) or _stand_in(path)
        problem = problem or _content_problem(path, xvector)
        if problem:
            yield f"xvector.pretrained_model: {problem}"


def _content_problem(model: Path, xvector: XVectorSettings) -> str | None:
    """Return a line if the toolkit's own check finds that an encoder cannot be used, or None."""
    name = TOOLKITS[xvector.toolkit].check
    if name is None:
        return None
    check = import_class(name, "xvector.toolkit")
    try:
        check(model, xvector.frontend)
    except EncoderError as error:
        return str(error)
    return None


def _broken_vad(xvector: XVectorSettings, needs_encoder: bool) -> Iterator[str]:
    if not needs_encoder:
        yield f"xvector.vad: {xvector.provider} loads no encoder of ours; set vad to null"
        return
    try:
        require_packages("silero")
    except EncoderError as error:
        yield f"xvector.vad: {error}"


def _stand_in(model: Path) -> str | None:
    """Return a line for the first file of an encoder that stands in for another, or None."""
    paths = sorted(model.rglob("*")) if model.is_dir() else [model]
    for path in paths:
        if path.is_symlink() and not path.exists():
            return _dead_link(path)
        if not path.is_file():
            continue
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(LFS_POINTER):
            return f"{path} is a pointer of Git LFS, not the file itself: run git lfs pull there"
        if path.suffix not in HTML_SUFFIXES and head.lstrip().lower().startswith(HTML_STARTS):
            return f"{path} is a web page, not the file itself: download it again"
    return None


def _dead_link(path: Path) -> str:
    return f"{path} is a link to {path.readlink()}, which does not exist"


def _needs_encoder(provider: str) -> bool:
    try:
        found = import_class(provider, "xvector.provider")
    except ConfigError:
        return False  # `_broken_classes` reports it.
    return isinstance(found, type) and issubclass(found, XVectorProvider)


def _broken_folder(folder: Path) -> Iterator[str]:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        yield f"xvector.save_path: {folder} is not a directory"


def _class_problem(found: object, base: type) -> str | None:
    """Return why something is not a class that implements all of `base`, or None."""
    if not isinstance(found, type) or not issubclass(found, base):
        return f"is not a subclass of {base.__name__}: derive it from xvectors.{base.__name__}"
    missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
    return f"lacks {missing}" if missing else None

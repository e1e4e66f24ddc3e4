"""The settings: the one definition of every key, its type, its default and its meaning.

The table in ``config/README.md`` is made from it (``python -m xvectors.config.table``).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from xvectors.config.paths import expand_path
from xvectors.config.toolkits import TOOLKITS, is_local

MAX_SHARDS = 1_000_000
MAX_NAME = 200
MAX_SHOWN = 100

# These follow a split's name in the names of other files, so no split may end in one.
RESERVED_ENDINGS = (
    ".failed",
    ".excluded",
    ".labels",
    ".clean",
    ".clusters",
    ".speakers",
    ".kaldi",
    ".report",
    ".scores",
    ".tsv",
    ".safetensors",
    ".parquet",
    ".npy",
    ".ids.txt",
    ".cosyvoice",
)


# From what to what the settings map that are maps.
MAPS = {
    "manifest_paths": "split to path",
    "corpora": "split to corpus",
    "trials": "name to trial list",
}


def shown(value: object) -> str:
    """Return a value as messages quote it."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def must_be(what: str, check: Callable[[Any], object] = lambda value: True) -> WrapValidator:
    """Make a validator whose message says which values are allowed.

    Args:
        what: The allowed values in words, ``an integer from 1 on``.
        check: Tells whether a value of the right type is allowed. It is not called for None.

    """

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        problem = PydanticCustomError(
            "must_be", "must be {what}, not {value}", {"what": what, "value": shown(value)}
        )
        try:
            result = handler(value)
        except ValidationError:
            raise problem from None
        if isinstance(value, bool) and not isinstance(result, bool):
            raise problem
        if result is not None and not check(result):
            raise problem
        return result

    return WrapValidator(validate)


def _null(value: Any) -> Any:
    """Read the word null, which ``--config`` passes as text."""
    return None if value == "null" else value


def _list(value: Any) -> Any:
    """Read a list that was given as text, or one entry of it."""
    if not isinstance(value, str):
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return [value]
    return read if isinstance(read, list) else [value]


def _map_to(what: str) -> BeforeValidator:
    """Make a validator that accepts only maps, with a message of its own."""

    def validate(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "must_be_map",
                "must be a map from {what}, not {value}",
                {"what": what, "value": shown(value)},
            )
        return value

    return BeforeValidator(validate)


def _expand_model(model: str | None) -> str | None:
    return expand_path(model) if model is not None and is_local(model) else model


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name))


def _is_split(name: str) -> bool:
    return _is_name(name) and not name.endswith(RESERVED_ENDINGS)


def _is_tag(name: str) -> bool:
    return len(name) <= MAX_NAME and bool(re.fullmatch(r"[^./\x00-\x1f][^/\x00-\x1f]*", name))


def _without_repetition(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if repeated:
        raise PydanticCustomError("repeated", "names {value} twice", {"value": repeated[0]})
    return values


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise PydanticCustomError("empty", "must name at least one")
    return values


def _in_code(names: Iterable[str]) -> str:
    """Return names as Markdown shows code."""
    return ", ".join(f"`{name}`" for name in names)


_NAME = "letters, digits, '_', '.' or '-', beginning with a letter or digit"
_PYTHON_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

Text = Annotated[str, must_be("text", len)]
PathText = Annotated[str, must_be("a path", len), AfterValidator(expand_path)]
Count = Annotated[int, must_be("an integer from 1 on", lambda number: number >= 1)]
Switch = Annotated[bool, must_be("true or false")]
Name = Annotated[str, must_be(_NAME, _is_name)]
Seconds = Annotated[
    float | None,
    BeforeValidator(_null),
    must_be("a number of seconds above 0, or null", lambda seconds: 0 < seconds < float("inf")),
]
ClassName = Annotated[str, must_be("a class as package.module.Class", _PYTHON_NAME.fullmatch)]
Split = Annotated[str, must_be(f"{_NAME}, and not end in {', '.join(RESERVED_ENDINGS)}", _is_split)]
Auto = Literal["auto"]
Shards = Annotated[int, Field(ge=1, le=MAX_SHARDS, strict=False)]
# Each name is also that of the method of `Layout` that gives its path.
Export = Literal["kaldi", "safetensors", "parquet", "numpy", "cosyvoice", "espnet3"]


class _Section(BaseModel):
    """A part of the configuration: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Corpus(_Section):
    """A corpus that a manifest is made from.

    The reader of a kind determines its options, see `xvectors.corpora.kinds`.
    """

    kind: Literal[
        "libritts",
        "vctk",
        "ljspeech",
        "kaldi",
        "lhotse",
        "nemo",
        "espnet3",
        "webdataset",
        "parquet",
        "shar",
        "folder",
    ] = Field(description="Kind of the corpus.")
    path: PathText = Field(
        description=(
            "The corpus: a folder, or a file for lhotse, nemo and espnet3; for webdataset and "
            "parquet either."
        )
    )
    subsets: Annotated[tuple[Text, ...] | None, must_be("a list of folders", len)] = Field(
        None, description="Folders to take, such as train-clean-100. Default: all."
    )
    microphone: Literal["mic1", "mic2"] | None = Field(
        None, description="Microphone of VCTK 0.92: mic1 (the default) or mic2."
    )
    root: PathText | None = Field(
        None, description="Folder that relative paths start from. Default: the current one."
    )
    pattern: Text | None = Field(
        None, description="Which files to take and how they are named: '{speaker}/**/*.wav'."
    )
    speaker: Text | None = Field(
        None,
        description=(
            "Speaker of all files, for a pattern without {speaker}; '{utterance}' makes each "
            "utterance a speaker of its own."
        ),
    )
    dot: Literal["first", "last"] | None = Field(
        None,
        description="Dot at which the key of a tar's member ends: first (the default) or last.",
    )
    audio_field: Text | None = Field(None, description="Column of the audio. Default: audio.")
    id_field: Text | None = Field(
        None, description="Column or JSON field of the utt_id. Default: id, or the like."
    )
    speaker_field: Text | None = Field(
        None, description="Column or JSON field of the speaker. Default: speaker_id, or the like."
    )
    text_field: Text | None = Field(
        None, description="Column or JSON field of the text. Default: text, or the like."
    )
    # The options that are lists.
    LISTS: ClassVar = ("subsets",)

    def given(self) -> dict[str, Any]:
        """Return the kind and the options that are given."""
        return self.model_dump(mode="json", exclude_none=True)


class Frontend(_Section):
    """A front end: the signal that an ONNX encoder was trained with, and the features of it."""

    features: Literal["fbank", "nemo", "raw"] = Field(
        "fbank",
        description=(
            "`fbank`: Kaldi's logarithmic filter bank. `nemo`: NeMo's mel spectrogram, each band "
            "normalized over the utterance. `raw`: the samples"
        ),
    )
    sample_rate: Count = Field(16000, description="rate of the signal in Hz")
    mel_bins: Count = Field(80, description="values per frame")
    window: Literal["povey", "hamming", "hanning"] = Field(
        "povey", description="window of a frame, for `fbank`"
    )
    normalize_samples: Switch = Field(
        True, description="whether samples lie within ±1; `false` for ±32768"
    )
    subtract_mean: Switch = Field(
        True, description="whether the utterance's mean is subtracted from its frames, for `fbank`"
    )
    channels: Literal["first", "mean"] = Field(
        "first",
        description="what is taken of several channels. Default: `first` for `fbank`, else `mean`",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_channels(cls, given: Any) -> Any:
        """Take what the projects' own scripts take of several channels."""
        if isinstance(given, Mapping) and given.get("features", "fbank") != "fbank":
            return {"channels": "mean", **given}
        return given


# Front ends by the projects whose encoders have them.
FRONTENDS = {
    name: Frontend.model_validate(settings)
    for name, settings in {
        "wespeaker": {"window": "hamming", "normalize_samples": False},
        "3dspeaker": {},
        "cosyvoice": {},
        "nemo": {"features": "nemo"},
        "raw": {"features": "raw"},
    }.items()
}


def _named_frontend(value: Any) -> Any:
    """Return the front end that a name stands for, and other values unchanged."""
    if value is None or isinstance(value, Mapping | Frontend):
        return value
    if isinstance(value, str) and value in FRONTENDS:
        return FRONTENDS[value]
    what = f"one of {', '.join(FRONTENDS)}, a map of settings, or null"
    raise PydanticCustomError(
        "must_be", "must be {what}, not {value}", {"what": what, "value": shown(value)}
    )


class XVectorSettings(_Section):
    """The settings under ``xvector``."""

    toolkit: Annotated[str, must_be(f"one of {', '.join(TOOLKITS)}", TOOLKITS.__contains__)] = (
        Field(
            "speechbrain",
            description=(
                f"[toolkit](../docs/toolkits.md) of the encoder: {_in_code(TOOLKITS)}; all but the "
                "first after `make <toolkit>`"
            ),
        )
    )
    pretrained_model: Annotated[
        str | None,
        AfterValidator(_expand_model),
        BeforeValidator(_null),
        must_be("a hub id, a path or null", len),
    ] = Field(
        "speechbrain/spkrec-ecapa-voxceleb",
        description=(
            "the encoder: a Hugging Face hub id, optionally pinned as `id@revision`, or a local "
            "folder or file. What a toolkit takes, and its default: "
            "[toolkits.md](../docs/toolkits.md). `null` for a [task of your "
            "own](../docs/new_task.md) that needs none. Loading a SpeechBrain encoder runs the "
            "code that its `hyperparams.yaml` names: [whom to "
            "trust](../SECURITY.md#what-is-trusted)"
        ),
    )
    frontend: Annotated[
        Frontend | None, BeforeValidator(_named_frontend), BeforeValidator(_null)
    ] = Field(
        None,
        description=(
            f"for `onnx`, the features that the encoder was trained with: {_in_code(FRONTENDS)}, "
            "or a map of settings, see [toolkits.md](../docs/toolkits.md#front-ends); `null` reads "
            "the file's own metadata, and refuses a file that has none"
        ),
    )
    device: Annotated[
        str | None,
        BeforeValidator(_null),
        must_be("cpu, cuda, cuda:<number> or null", re.compile(r"cpu|cuda(:[0-9]+)?").fullmatch),
    ] = Field(
        None,
        description="`cpu`, `cuda` or `cuda:1`; `null` takes a GPU if there is one, else the CPU",
    )
    jobs_per_gpu: Count = Field(
        1,
        description=(
            "shard jobs that may share a GPU at a time; further ones wait. Leave it at 1 on Slurm, "
            "where every job has its own GPU and 2 would only halve its processors. Values above "
            "1 have not been benchmarked with the current code"
        ),
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description=(
            "`fp32`, `tf32` (GPUs only; the CPU computes fp32) or `bf16` (refused on CPUs without "
            "native bf16: AVX512-BF16, AMX, Arm BF16)"
        ),
    )
    spk_embed_tag: Annotated[
        str, must_be("a name without slashes that does not begin with a dot", _is_tag)
    ] = Field(
        description="name of these embeddings' folder under `save_path`",
        json_schema_extra={"shown_default": "last part of `pretrained_model`"},
    )
    save_path: PathText = Field(
        "${data_dir}/x_vectors",
        description=(
            "folder of the embeddings of all encoders (no braces in it, nor in the other paths "
            "here: Snakemake takes them for wildcards)"
        ),
    )
    storage: Literal["files", "packed"] = Field(
        "files",
        description=(
            "how embeddings are kept: a `.pt` file each, or `packed`, a safetensors file per "
            "shard, see [results.md](../docs/results.md#packed)"
        ),
    )
    batch_size: Annotated[
        int | None,
        BeforeValidator(_null),
        must_be("an integer from 1 on, or null", lambda number: number >= 1),
    ] = Field(
        20,
        description=(
            "utterances in one `forward()`; `null` is one at a time. It does not change vectors. "
            "On a GPU the default runner chooses batches by seconds of audio and ignores this"
        ),
    )
    n_shards: Annotated[
        Shards | Auto | Mapping[str, Shards | Auto],
        must_be(
            "an integer from 1 on or auto, or a map from split to these",
            lambda given: not isinstance(given, bool),
        ),
    ] = Field(
        "auto",
        description=(
            "jobs per split: `auto`, a number, or a map from split to these. It does not change "
            "vectors. `auto` depends on the hours of audio: one shard up to 10 minutes, 3 for an "
            "hour, 8 for 10 hours, 25 for 100 hours, and one per 8 hours from 384 hours on, but "
            "no more than utterances"
        ),
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail",
        description=(
            "what a bad utterance does. `fail`: all others are embedded, the run ends with an "
            "error that names it, and the next run tries again. `skip`: it is listed in "
            "`<split>.failed.tsv`, and tried again when its file changes"
        ),
    )
    vad: Annotated[Literal["silero"] | None, BeforeValidator(_null), must_be("silero or null")] = (
        Field(
            None,
            description=(
                "`silero` embeds the speech alone, without the pauses, after `make silero`, see "
                "[audio.md](../docs/audio.md#speech-alone)"
            ),
        )
    )
    min_seconds: Seconds = Field(
        None,
        description=(
            "shortest utterance to embed, in seconds; shorter ones are listed in "
            "`<split>.excluded.tsv`, see [results.md](../docs/results.md#excluded-utterances)"
        ),
    )
    max_seconds: Seconds = Field(
        None, description="longest utterance to embed, in seconds; longer ones are listed there too"
    )
    manifest_paths: Annotated[Mapping[str, PathText], _map_to(MAPS["manifest_paths"])] = Field(
        {split: f"${{data_dir}}/manifest/{split}.tsv" for split in ("train", "valid", "test")},
        description="map from split to manifest",
        json_schema_extra={"shown_default": "`${data_dir}/manifest/<split>.tsv`"},
    )
    corpora: Annotated[Mapping[Name, Corpus], _map_to(MAPS["corpora"])] = Field(
        {},
        description=(
            "map from split to a corpus that its manifest is made from, see "
            "[manifests.md](../docs/manifests.md): "
            "`{train: {kind: libritts, path: /corpora/LibriTTS}}`"
        ),
    )
    splits: Annotated[
        tuple[Split, ...],
        AfterValidator(_some),
        AfterValidator(_without_repetition),
        BeforeValidator(_list),
    ] = Field(("train", "valid", "test"), description="the splits to embed")
    speaker_means: Switch = Field(
        True,
        description=(
            "whether each speaker's mean embedding is written, see "
            "[results.md](../docs/results.md#speakers); `false` where there are too many for one "
            "file (`exports: [kaldi]` and `cohort` need the means and compute them regardless)"
        ),
    )
    length_normalize: Switch = Field(
        False,
        description="whether speakers' means are taken of embeddings divided by their lengths",
    )
    labels: Switch = Field(
        False,
        description=(
            "whether speaker labels are compared with the embeddings: writes a table with a "
            "verdict on each, and a manifest without those that may be wrong, see "
            "[results.md](../docs/results.md#labels)"
        ),
    )
    label_false_discovery_rate: Annotated[
        float, must_be("a number between 0 and 1", lambda rate: 0 < rate < 1)
    ] = Field(
        0.05,
        description=(
            "share of the suspect labels that may be right after all: a lower one finds fewer "
            "wrong labels, and fewer right ones among them"
        ),
    )
    clusters: Switch = Field(
        False,
        description=(
            "whether utterances are grouped into speakers by the embeddings alone, see "
            "[results.md](../docs/results.md#clusters)"
        ),
    )
    exports: Annotated[
        tuple[Export, ...], AfterValidator(_without_repetition), BeforeValidator(_list)
    ] = Field(
        (),
        description=(
            f"formats in which each split is written too: {_in_code(get_args(Export))}, see "
            "[results.md](../docs/results.md#exports)"
        ),
    )
    trials: Annotated[Mapping[Name, PathText], _map_to(MAPS["trials"])] = Field(
        {},
        description=(
            "map from a name to a list of trials (`label utt1 utt2`, or `utt1 utt2`), which are "
            "scored, see [results.md](../docs/results.md#trials)"
        ),
    )
    cohort: Annotated[str | None, BeforeValidator(_null), must_be("a split or null", len)] = Field(
        None,
        description=(
            "split whose speakers the trials' scores are normalized against; `null` for no "
            "normalization"
        ),
    )
    cohort_size: Annotated[int, must_be("an integer from 2 on", lambda number: number > 1)] = Field(
        300,
        description=(
            "number of closest cohort speakers that normalize a score (top-N adaptive s-norm)"
        ),
    )
    provider: ClassName = Field(
        "xvectors.XVectorProvider",
        description="class that builds the environment, see [new_task.md](../docs/new_task.md)",
    )
    runner: ClassName = Field(
        "xvectors.XVectorRunner", description="class that processes utterances"
    )
    report: Switch = Field(True, description="whether each split gets a [page](../docs/report.md)")
    report_utterances: Count = Field(
        5000,
        description="largest number of utterances in the sample that the page shows",
    )
    report_tsne: Switch = Field(False, description="whether the page has a map by t-SNE too")
    report_audio: Switch = Field(
        True,
        description=(
            "whether the page holds a short clip of each utterance that it doubts, 5 MB at most"
        ),
    )
    async_mode: object = Field(None, description="accepted from ESPnet3's files, without effect")

    @field_validator("max_seconds")
    @classmethod
    def _check_limits(cls, longest: float | None, info: ValidationInfo) -> float | None:
        shortest = info.data.get("min_seconds")
        if shortest is not None and longest is not None and longest <= shortest:
            raise PydanticCustomError(
                "limits",
                "must be above min_seconds, {shortest}, not {longest}",
                {"shortest": f"{shortest:g}", "longest": f"{longest:g}"},
            )
        return longest

    def given_shards(self, split: str) -> int | None:
        """Return the number of shards of `split`, None if its hours of audio decide."""
        given = self.n_shards
        number = given.get(split, "auto") if isinstance(given, Mapping) else given
        return None if number == "auto" else number


class Settings(_Section):
    """The resolved configuration.

    Attributes:
        data_dir: Folder that other paths' defaults refer to. None if it cannot be resolved, in
            which case nothing refers to it.
        xvector: All other settings.

    """

    data_dir: Annotated[str | None, must_be("a path", len)] = Field(
        "data", description="folder that the other paths' defaults refer to"
    )
    xvector: XVectorSettings
    # The user's sections besides `xvector`, unresolved.
    _others: dict[str, Any] = PrivateAttr(default_factory=dict)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    def with_context(self, others: Mapping[str, Any], notes: Sequence[str]) -> "Settings":
        """Return the same settings with the user's other sections and with notes."""
        changed = self.model_copy()
        changed._others = dict(others)
        changed._notes = tuple(notes)
        return changed

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that tell the user how settings were chosen."""
        return self._notes

    def as_omegaconf(self) -> DictConfig:
        """Return the configuration that a provider gets.

        It holds these settings and the user's other sections, whose interpolation is resolved
        when a value is read. Each call returns a new copy, which may be changed.
        """
        xvector = self.xvector.model_dump(mode="json")
        return OmegaConf.create({**self._others, "xvector": xvector})

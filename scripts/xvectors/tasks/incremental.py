"""Incremental work: skip the utterances whose embedding is current, and stamp new embeddings.

A shard job and a runner that is used from Python share this. Each utterance is looked up once: its
audio file's version, and its embedding.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from xvectors.audio.signal import Decoded
from xvectors.audio.versions import AudioVersion, AudioVersions, audio_version, content_hash
from xvectors.errors import ShardError, UtteranceError, XVectorsError, first_line, machine_problem
from xvectors.storage.base import Found, Storage
from xvectors.storage.provenance import Provenance, Standing
from xvectors.tasks.pipeline import Pipeline
from xvectors.tasks.runner import Outcome

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Target(NamedTuple):
    """An utterance to embed: its audio file, ready to be opened, and its embedding's provenance.

    The provenance has no version of the audio file yet. It is None where embeddings have none.
    """

    utt_id: str
    audio_path: str
    provenance: Provenance | None


class Embedding(NamedTuple):
    """A result that `IncrementalPipeline` stores itself.

    `vector` has the shape (dim,), and `decoded` are facts about its audio, if they are known.
    """

    vector: "torch.Tensor"
    decoded: Decoded | None = None


class _Answer(NamedTuple):
    target: Target
    audio: AudioVersion | None
    found: Found


class OutputCheck:
    """Tells which utterances have a current embedding.

    An embedding whose audio file has only moved gets a new provenance, and is current.

    Attributes:
        missing: The indices that `survey` has found without a current embedding, with the versions
            of their audio files, None where there is none.
        decoded: Facts about the audio of the others, as far as their embeddings tell them.

    """

    def __init__(
        self,
        target_of: Callable[[int], Target],
        storage: Storage,
        check_run: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a function that returns an index's utterance, and the storage of the embeddings.

        `check_run` raises an exception when this process must not write any more.
        """
        self.target_of = target_of
        self.storage = storage
        self.check_run = check_run
        self.missing: dict[int, AudioVersion | None] = {}
        self.decoded: dict[int, Decoded] = {}
        self._standings: dict[int, Standing] = {}

    def survey(self, indices: Iterable[int], n_threads: int) -> None:
        """Find the indices without a current embedding.

        `n_threads` threads read the audio files that may have moved.
        """
        moved: dict[int, _Answer] = {}
        versions = AudioVersions()
        for index in indices:
            target = self.target_of(index)
            answer = self._ask(target, versions.of(target.audio_path))
            if answer.found.standing is Standing.MOVED:
                moved[index] = answer
            else:
                self._note(index, answer, self._resolve(answer))
        with ThreadPoolExecutor(n_threads) as readers:
            standings = readers.map(self._resolve, moved.values())
            for (index, answer), standing in zip(moved.items(), standings, strict=True):
                self._note(index, answer, standing)

    def _note(self, index: int, answer: _Answer, standing: Standing) -> None:
        if standing is not Standing.CURRENT:
            self.missing[index], self._standings[index] = answer.audio, standing
        elif answer.found.decoded is not None:
            self.decoded[index] = answer.found.decoded
        if self.storage.is_remembered:
            # Here too, because processes that are forked later have a copy of the list.
            self._discard_if_stale(answer.target, standing)

    def discard_stale(self, index: int) -> tuple[Target, bool]:
        """Discard a stale embedding. Return the utterance, and whether its embedding is current."""
        target = self.target_of(index)
        standing = self._standings.get(index)
        if standing is None:
            standing = self._resolve(self._ask(target, audio_version(target.audio_path)))
        self._discard_if_stale(target, standing)
        return target, standing is Standing.CURRENT

    def _discard_if_stale(self, target: Target, standing: Standing) -> None:
        if standing is Standing.STALE:
            self.storage.discard(target.utt_id)

    def _ask(self, target: Target, audio: AudioVersion | None) -> _Answer:
        if target.provenance is None:
            return _Answer(target, audio, Found(Standing.MISSING))
        found = self.storage.find(target.utt_id, target.provenance.with_audio(audio))
        return _Answer(target, audio, found)

    def _resolve(self, answer: _Answer) -> Standing:
        """Return a standing other than MOVED; read the audio file where it must decide."""
        target, audio, found = answer
        if target.provenance is None:
            return found.standing
        if found.standing is Standing.CURRENT:
            self.storage.choose(target.utt_id, target.provenance.with_audio(audio))
        if found.standing is not Standing.MOVED:
            return found.standing
        try:
            provenance = target.provenance.with_audio(*content_hash(target.audio_path))
        except UtteranceError:
            return Standing.GONE
        if provenance.digest().content not in found.contents:
            return Standing.STALE
        self.check_run()
        self.storage.update_provenance(target.utt_id, provenance)
        return Standing.CURRENT


class _Item(NamedTuple):
    """An utterance, its provenance, and the runner's item, None if the utterance is current."""

    target: Target
    is_current: bool
    provenance: Provenance | None = None
    loaded: Any = None


class IncrementalPipeline(Pipeline):
    """A runner's pipeline that skips current embeddings, and stamps or stores new ones."""

    def __init__(self, pipeline: Pipeline, outputs: OutputCheck) -> None:
        self.pipeline = pipeline
        self.encoder = pipeline.encoder
        self.outputs = outputs

    def with_encoder(self, encoder: Any) -> "IncrementalPipeline":
        """Return the same pipeline with another encoder."""
        return IncrementalPipeline(self.pipeline.with_encoder(encoder), self.outputs)

    def n_bytes(self, item: _Item) -> int:
        """Return the memory of the runner's item."""
        return 0 if item.is_current else self.pipeline.n_bytes(item.loaded)

    def load(self, index: int) -> _Item:
        """Load an utterance as the runner does, unless its embedding is current."""
        self.outputs.check_run()
        target, is_current = self.outputs.discard_stale(index)
        if is_current:
            return _Item(target, is_current)
        # Before the runner reads the file: if it changes in between, its embedding is stale.
        provenance = _with_present_audio(target)
        return _Item(target, is_current, provenance, self.pipeline.load(index))

    def compute(self, items: list[_Item]) -> Sequence[Any]:
        """Compute items that are not current as the runner does."""
        self.outputs.check_run()
        new = [item.loaded for item in items if not item.is_current]
        results = self.pipeline.compute(new) if new else []
        if len(new) == len(items):
            return results
        found = iter(results)
        return [None if item.is_current else next(found) for item in items]

    def store(self, item: _Item, result: Any) -> Outcome:
        """Store a result as the runner does, and make sure that its output has a provenance."""
        utt_id = item.target.utt_id
        if item.is_current:
            return {"utt_id": utt_id, "status": "skipped"}
        self.outputs.check_run()
        stored = self.pipeline.store(item.loaded, result)
        if isinstance(stored, Embedding):
            return self._save(item, stored)
        return _finalize_outcome(item, stored, self.outputs.storage)

    def _save(self, item: _Item, embedding: Embedding) -> Outcome:
        provenance, decoded = item.provenance, embedding.decoded
        if provenance is not None:
            provenance = replace(provenance, decoded=decoded)
        self.outputs.storage.save(item.target.utt_id, embedding.vector, provenance)
        outcome: Outcome = {"utt_id": item.target.utt_id, "status": "ok"}
        return outcome if decoded is None else {**outcome, "decoded": decoded}


def failure_reason(error: BaseException) -> str:
    """Return why an utterance failed; raise an error that is not about one utterance.

    Raises:
        BaseException: The same error, which the machine or the task causes.

    """
    if isinstance(error, UtteranceError):
        return str(error)
    is_own = isinstance(error, XVectorsError)
    if not isinstance(error, Exception) or is_own or machine_problem(error):
        raise error
    logger.warning("unexpected", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _with_present_audio(target: Target) -> Provenance | None:
    if target.provenance is None:
        return None
    try:
        return target.provenance.with_audio(*content_hash(target.audio_path))
    except UtteranceError:
        # A runner of another kind may not need to read it.
        return target.provenance.with_audio(audio_version(target.audio_path))


def _finalize_outcome(item: _Item, result: Any, storage: Storage) -> Outcome:
    """Return the outcome of a runner that stores its results itself."""
    utt_id = item.target.utt_id
    outcome: Outcome = {"utt_id": utt_id, "status": "ok"}
    if isinstance(result, dict):
        known = {name: result[name] for name in ("utt_id", "status") if name in result}
        outcome.update(known)  # type: ignore[typeddict-item]
        outcome["reason"] = str(result.get("reason", "the runner gave no reason"))
    if outcome["utt_id"] != utt_id:
        raise ShardError(
            f"{utt_id}: the runner's result is of {outcome['utt_id']}: return one result per "
            "index, in their order. If the manifest has changed, rerun the same command"
        )
    if outcome["status"] != "failed" and item.provenance is not None:
        reason = storage.verify_and_stamp(utt_id, item.provenance)
        if reason is not None:
            outcome.update({"status": "failed", "reason": reason})
    return outcome

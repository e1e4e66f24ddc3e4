"""The files that the settings ask for beside the embeddings, as rules name them."""

from dataclasses import dataclass

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.sharding.limits import Limits
from xvectors.tasks.outputs import makes_embeddings, runner_class


@dataclass(frozen=True)
class Products:
    """Lists of paths; each is empty if the settings do not ask for these files."""

    settings: Settings
    layout: Layout

    def excluded(self) -> list[str]:
        """Return the pattern of the tables of excluded utterances."""
        return [str(self.layout.excluded("{split}"))] if Limits.of(self.settings) else []

    def labels(self) -> list[str]:
        """Return the pattern of the tables of labels."""
        return [str(self.layout.labels("{split}"))] if self.settings.xvector.labels else []

    def cohort(self) -> list[str]:
        """Return the speaker embeddings against which scores are normalized."""
        cohort = self.settings.xvector.cohort
        return [] if cohort is None else [str(self.layout.speakers(cohort))]

    def scores(self) -> list[str]:
        """Return the results of all trial lists."""
        makers = (self.layout.scores, self.layout.error_rates, self.layout.trials_page)
        return [str(make(name)) for make in makers for name in self.settings.xvector.trials]

    def summaries(self) -> list[str]:
        """Return the summaries of the labels and clusters of all splits."""
        xvector, layout = self.settings.xvector, self.layout
        makers = {layout.labels_summary: xvector.labels, layout.clusters_summary: xvector.clusters}
        return [
            str(make(split))
            for make, is_wanted in makers.items()
            if is_wanted
            for split in xvector.splits
        ]

    def all(self) -> list[str]:
        """Return means, labels, clusters, exports, pages and scores, of all splits."""
        xvector, layout = self.settings.xvector, self.layout
        # `Layout` has a method named after each export.
        makers = [getattr(layout, kind) for kind in xvector.exports]
        if xvector.speaker_means and makes_embeddings(runner_class(self.settings)):
            makers.append(layout.speakers)
        if xvector.labels:
            makers += [layout.labels, layout.clean_manifest]
        if xvector.clusters:
            makers.append(layout.clusters)
        if xvector.report:
            makers.append(layout.page)
        overview = [str(layout.overview)] if xvector.report else []
        found = [str(make(split)) for make in makers for split in xvector.splits]
        return [*found, *overview, *self.scores()]

"""A part of a recording."""

from typing import NamedTuple


class Segment(NamedTuple):
    """A part of a recording, in seconds from its beginning."""

    start: float
    end: float

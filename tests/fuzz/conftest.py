"""What hypothesis needs beside SpeechBrain."""

from speechbrain.utils.importutils import LazyModule

# Hypothesis asks every module for its file; SpeechBrain's would import what they stand for.
LazyModule.__file__ = None

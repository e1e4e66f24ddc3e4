"""The parts of a run before, after and beside its jobs."""

"""What a run of the workflow does before, after and beside its jobs."""

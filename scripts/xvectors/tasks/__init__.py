"""Tasks: providers, runners and the pipeline that a shard job runs."""

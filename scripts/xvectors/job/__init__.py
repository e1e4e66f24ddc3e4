"""The job of a shard: its utterances, processes and GPU."""

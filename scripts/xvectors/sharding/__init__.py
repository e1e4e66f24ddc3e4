"""Sharding: which job embeds which utterances, and what it reports."""

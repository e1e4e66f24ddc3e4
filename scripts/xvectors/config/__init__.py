"""The configuration: its keys, how it is resolved, and the paths that follow from it."""

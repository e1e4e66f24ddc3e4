"""Storage of embeddings: one file each, or one pack per shard."""

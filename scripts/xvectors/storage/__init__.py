"""How embeddings are stored: one file each, or one pack per shard."""

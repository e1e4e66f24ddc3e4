"""How embeddings lie on the disk: a file each, or packed into one for each shard."""

"""Results: the tables, speakers, labels, clusters and exports of a split's embeddings."""

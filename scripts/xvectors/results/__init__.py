"""What is made of a split's embeddings: tables, speakers, exports and scores of trials."""

"""The report: what a split's embeddings and a trial list's scores say, as pages to look at."""

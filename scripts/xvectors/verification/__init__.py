"""Speaker verification: trial lists, scores and error rates."""

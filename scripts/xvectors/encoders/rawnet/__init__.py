"""RawNet3."""

"""Audio files: their version, their length, and their signal as an encoder wants it."""

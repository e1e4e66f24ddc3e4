"""Silero VAD: which parts of a signal are speech."""

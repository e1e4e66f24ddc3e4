"""Encoders of Hugging Face's transformers: WavLM, UniSpeech-SAT and wav2vec 2.0 with x-vectors."""

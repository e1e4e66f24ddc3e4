"""Encoders trained with ESPnet-SPK."""

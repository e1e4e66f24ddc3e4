"""Encoders as ONNX graphs: WeSpeaker's, 3D-Speaker's, CosyVoice's, NeMo's and others."""

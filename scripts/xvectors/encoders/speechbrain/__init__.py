"""SpeechBrain's encoders, and faster forms of ECAPA-TDNN with the same results."""

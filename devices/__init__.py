"""Sound devices: live duplex audio, board profiles, microphone arrays, the virtual microphone. Never imports torch."""

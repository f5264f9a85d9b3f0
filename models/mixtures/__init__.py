"""Training and validation scenes: speech and noise in simulated rooms."""

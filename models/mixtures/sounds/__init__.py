"""Noises that are made in training: generators by name, and what they are built of."""

"""Networks that have nothing to do with speech, for the tests of compression."""

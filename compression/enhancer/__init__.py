"""The toolkit applied to speech enhancers: the only part of it that knows speech."""

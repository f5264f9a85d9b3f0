"""Audio files and folders of them: read, enhanced, written, wherever they lie."""

"""The panel: a page of this machine's own, to enhance files on and to steer a live run."""

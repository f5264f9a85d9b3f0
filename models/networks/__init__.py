"""The networks, the same code for a training segment and for one frame."""

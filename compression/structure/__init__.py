"""What a network is made of: units that belong together, and how to cut them out."""

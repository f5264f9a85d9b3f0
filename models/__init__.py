"""Networks, the scenes they learn from, their training, and how they become files; needs torch."""

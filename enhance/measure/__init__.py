"""What an enhancer is worth: quality and speed, of models and of other people's enhancers."""

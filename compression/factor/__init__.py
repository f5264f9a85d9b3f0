"""Weights as products of smaller ones, and in fewer bits."""

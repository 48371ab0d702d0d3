"""Synthetic handwriting that the reading networks are trained on: digits, non-digits and rows."""

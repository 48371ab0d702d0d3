"""Training curves, confusion matrices and digits as pictures."""

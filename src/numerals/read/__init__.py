"""Pictures to digits, without PyTorch."""

"""A training on disk: run folders, checkpoints, resuming, loading."""

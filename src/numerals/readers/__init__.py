"""The networks that read: their recipes, training, adaptation and evaluation."""

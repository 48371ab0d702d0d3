"""The article, one module per section.

Asad Kazmi, "MNIST Handwritten Digits Classification Using a Convolutional Neural Network". Read in this order: recipe,
data, datasets, augment, batches, model, optimizer, callbacks, state, fit, metrics.
"""

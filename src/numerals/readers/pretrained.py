"""The model of single digits that ships, as a network to go on training. Knows nothing about how it was trained.

Only the ONNX file ships. In it each convolution has taken in the batch normalisation that follows it; here the
normalisation gets back the shift alone, and does nothing else: the same answers.
"""

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from numerals.read import model_files
from numerals.readers.digit_network import ReaderNetwork
from numerals.runs.folder import Weights

SHIPPED = "shipped"  # what --init calls it


def shipped_weights() -> Weights:
    """The weights of a `ReaderNetwork` that answers as the file that ships, but for its temperature."""
    graph = onnx.load_from_string(model_files.load().content).graph
    arrays = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
    network = ReaderNetwork()
    named = {name.removeprefix("network."): array for name, array in arrays.items() if name.startswith("network.")}
    network.load_state_dict(named, strict=False)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    [product] = [node for node in graph.node if node.op_type == "MatMul"]
    modules = list(network.body)
    with torch.no_grad():
        places = [place for place, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
        for place, node in zip(places, convolutions, strict=True):
            _, weight, shift = node.input
            convolution, normalisation = modules[place], modules[place + 1]
            assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
            convolution.weight.copy_(arrays[weight])
            normalisation.bias.copy_(arrays[shift])
            normalisation.running_var.fill_(1 - normalisation.eps)  # type: ignore[union-attr]
        [linear] = [module for module in modules if isinstance(module, nn.Linear)]
        linear.weight.copy_(arrays[product.input[1]].T)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}

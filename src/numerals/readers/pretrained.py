"""The digit model that ships with numerals, as weights to continue training from.

Only its ONNX file ships. There, each batch normalisation is folded into the convolution before it. The network built
here gets the folded convolutions, and normalisations that only add the shift, so that it computes the same outputs.
"""

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from numerals.article.state import StateDict
from numerals.read import model_files
from numerals.readers.digit_network import DigitNetwork

PRETRAINED = "shipped"  # its name for --init


def pretrained_weights() -> StateDict:
    """Return weights with which a `DigitNetwork` answers like the shipped model before its temperature scaling."""
    graph = onnx.load_from_string(model_files.load().content).graph
    arrays = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    network = DigitNetwork()
    named = {name.removeprefix("network."): array for name, array in arrays.items() if name.startswith("network.")}
    network.load_state_dict(named, strict=False)
    convolution_nodes = [node for node in graph.node if node.op_type == "Conv"]
    [matmul_node] = [node for node in graph.node if node.op_type == "MatMul"]
    layers = list(network.body)
    convolution_indices = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for index, node in zip(convolution_indices, convolution_nodes, strict=True):
            _, weight, shift = node.input
            convolution, normalisation = layers[index], layers[index + 1]
            assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
            convolution.weight.copy_(arrays[weight])
            normalisation.bias.copy_(arrays[shift])
            normalisation.running_var.fill_(1 - normalisation.eps)  # type: ignore[union-attr]
        [linear] = [layer for layer in layers if isinstance(layer, nn.Linear)]
        linear.weight.copy_(arrays[matmul_node.input[1]].T)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}

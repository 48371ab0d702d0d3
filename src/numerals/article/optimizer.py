"""The Adam optimizer as Keras computes it (the article's section 5; Kingma and Ba 2015, end of section 2)."""

import math
from typing import Any

import torch
from torch import nn

from numerals.article.recipe import OptimizerSettings


class KerasAdam:
    """PyTorch's fused Adam with epsilon where Keras has it, and decoupled weight decay (Loshchilov and Hutter 2019).

    Keras divides by sqrt(v) + epsilon and then corrects the bias; PyTorch corrects sqrt(v) first and then adds epsilon.
    Both are the same if PyTorch's epsilon is Keras's divided by the bias correction of that step, so `step` passes that
    value. It matters in the first steps, where the correction is smallest: sqrt(1 - 0.999) = 0.03.

    The class calls PyTorch's kernel directly: creating a torch.optim optimizer imports PyTorch's compiler, which takes
    over a second.
    """

    def __init__(self, network: nn.Module, recipe: OptimizerSettings) -> None:
        self.learning_rate = recipe.learning_rate  # of the next step; the schedule sets it
        self._recipe = recipe
        self._weights = list(network.parameters())
        self._means = [torch.zeros_like(weight) for weight in self._weights]  # running means of the gradients
        self._squares = [torch.zeros_like(weight) for weight in self._weights]  # and of their squares
        self._step_counts = [torch.zeros((), device=weight.device) for weight in self._weights]  # for the kernel
        self._steps = 0

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every weight from its gradient."""
        self._steps += 1
        torch._foreach_add_(self._step_counts, 1)
        torch._fused_adamw_(
            list[torch.Tensor](self._weights),
            [weight.grad for weight in self._weights if weight.grad is not None],
            self._means,
            self._squares,
            [],
            self._step_counts,
            lr=self.learning_rate,
            beta1=self._recipe.beta_1,
            beta2=self._recipe.beta_2,
            weight_decay=self._recipe.weight_decay,
            eps=self._recipe.epsilon / math.sqrt(1 - self._recipe.beta_2**self._steps),
            amsgrad=False,
            maximize=False,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """The optimizer's own tensors by name, not copies; to restore an optimizer, copy into them."""
        named = {"mean": self._means, "square": self._squares, "steps": self._step_counts}
        return {f"{name}.{index}": tensor for name, tensors in named.items() for index, tensor in enumerate(tensors)}

    def state(self) -> dict[str, Any]:
        """The rest of the optimizer's state, for JSON; `restore` takes it."""
        return {"rate": self.learning_rate, "done": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.learning_rate, self._steps = state["rate"], state["done"]

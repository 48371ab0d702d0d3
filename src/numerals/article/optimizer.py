"""Adam as Keras writes it (the article's section 5; Kingma and Ba 2015, end of section 2)."""

import math
from typing import Any

import torch
from torch import nn

from numerals.article.recipe import OptimizerSettings


class KerasAdam:
    """torch's fused Adam with epsilon outside of the bias correction, where Keras has it.

    Its weight decay is decoupled from the gradient (Loshchilov and Hutter 2019).

    Keras divides by sqrt(v) + epsilon and then corrects; torch corrects sqrt(v) first and then adds epsilon. The two
    are the same when torch's epsilon is Keras's over the correction of that step, which is what `step` sets. Without it
    the first steps differ, since the correction is smallest there: sqrt(1 - 0.999) = 0.03.

    It calls torch's kernel itself, as torch.optim's classes import torch's compiler when they are made: over a second.
    """

    def __init__(self, network: nn.Module, recipe: OptimizerSettings) -> None:
        self.rate = recipe.learning_rate  # of the next step; the schedule sets it
        self._recipe = recipe
        self._weights = list(network.parameters())
        self._means = [torch.zeros_like(weight) for weight in self._weights]
        self._squares = [torch.zeros_like(weight) for weight in self._weights]
        self._steps = [torch.zeros((), device=weight.device) for weight in self._weights]
        self._done = 0

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step of every weight along its gradient."""
        self._done += 1
        torch._foreach_add_(self._steps, 1)
        torch._fused_adamw_(
            list[torch.Tensor](self._weights),
            [weight.grad for weight in self._weights if weight.grad is not None],
            self._means,
            self._squares,
            [],
            self._steps,
            lr=self.rate,
            beta1=self._recipe.beta_1,
            beta2=self._recipe.beta_2,
            weight_decay=self._recipe.weight_decay,
            eps=self._recipe.epsilon / math.sqrt(1 - self._recipe.beta_2**self._done),
            amsgrad=False,
            maximize=False,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its means and squares of gradients and its steps, themselves; copied into, it goes on from there."""
        named = {"mean": self._means, "square": self._squares, "steps": self._steps}
        return {f"{name}.{which}": each for name, tensors in named.items() for which, each in enumerate(tensors)}

    def state(self) -> dict[str, Any]:
        """What else it is, for `restore`."""
        return {"rate": self.rate, "done": self._done}

    def restore(self, state: dict[str, Any]) -> None:
        self.rate, self._done = state["rate"], state["done"]

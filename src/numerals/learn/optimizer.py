"""Adam as Keras writes it (the article's section 5; Kingma and Ba 2015, end of section 2)."""

import math

import torch
from torch import nn

from numerals.learn import recipe as recipes


class KerasAdam(torch.optim.Adam):
    """torch's fused Adam with epsilon outside of the bias correction, where Keras has it.

    Keras divides by sqrt(v) + epsilon and then corrects; torch corrects sqrt(v) first and then adds epsilon. The two
    are the same when torch's epsilon is Keras's over the correction of that step, which is what `step` sets. Without it
    the first steps differ, since the correction is smallest there: sqrt(1 - 0.999) = 0.03.
    """

    def __init__(self, network: nn.Module, recipe: recipes.Optimizer) -> None:
        betas = (recipe.beta_1, recipe.beta_2)
        super().__init__(network.parameters(), recipe.learning_rate, betas, recipe.epsilon, fused=True)
        self._epsilon = recipe.epsilon
        self._steps = 0

    @property
    def rate(self) -> float:
        """The learning rate; setting it is what the plateau rule does."""
        return float(self.param_groups[0]["lr"])

    @rate.setter
    def rate(self, value: float) -> None:
        self.param_groups[0]["lr"] = value

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every parameter along its gradient."""
        self._steps += 1
        group = self.param_groups[0]
        group["eps"] = self._epsilon / math.sqrt(1 - group["betas"][1] ** self._steps)
        super().step(closure)

"""Verification of transforms: compare the original and the transformed network on the same inputs."""

import torch
from torch import Tensor, nn

from skipweave.tracing.copies import replica
from skipweave.tracing.dataflow import METHODS, sizes_follow_values
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.network_outputs import Outcome, difference, outcome
from skipweave.tracing.replicas import Trials
from skipweave_config.errors import SkipweaveError


class Reference:
    """Expected outputs of a network for two batch sizes, and for several image sizes if it accepts them.

    Compared are containers, keys, lengths, shapes and data types of everything that the network returns or stores in
    its modules in evaluation mode, and optionally the values. Replicas of the networks run, without the user's hooks;
    the networks and the states of random number generators do not change.

    Args:
        model: The original network.
        trials: Inputs to run it with.
        values: Whether values are compared, up to rounding (`network_outputs.difference`). They cannot be compared on
            the meta device.

    Raises:
        SkipweaveError: The network cannot run on the first inputs.
    """

    def __init__(self, model: nn.Module, trials: Trials, *, values: bool) -> None:
        self._values = values and not any(parameter.is_meta for parameter in model.parameters())
        self._trials = Trials(trials.inputs, None) if self._values else trials
        self._sizes = not sizes_follow_values(model, trials)
        self._decisions = values and bool(outcome(trials.replica(model), next(trials.here()), decisions=True).dependent)
        twin, other = self._trials.replica(model), self._trials.replica(model)
        self._expected: list[tuple[Inputs, str, Outcome]] = []
        for number, inputs in enumerate(self._trials.here()):
            for method in METHODS if values and number == 0 else METHODS[:1]:
                if hasattr(twin, method):
                    try:
                        found = self._outcome(twin, inputs, method)
                        if self._values:
                            found = found.with_rounding(self._outcome(other, inputs.map(_rounded), method))
                        self._expected.append((inputs, method, found))
                    except SkipweaveError:  # the network does not support these inputs
                        if not self._expected:
                            raise

    def difference(self, result: nn.Module, *, within: str = "", values: bool = True) -> str:
        """Describe the first difference of a transformed network, or why it cannot run; empty if there is none.

        Args:
            result: The transformed network.
            within: Name of the submodule that corresponds to the original network, if not `result` itself.
            values: Whether values are compared, if the reference has them.
        """
        twin = replica(result) if self._trials.device is None else self._trials.replica(result)
        for inputs, method, expected in self._expected:
            try:
                found = self._outcome(twin, inputs, method, within)
            except SkipweaveError as error:
                return str(error)
            if words := difference(expected, found, values=values and self._values, sizes=self._sizes):
                return f"for {inputs}, {words}"
        return ""

    def _outcome(self, twin: nn.Module, inputs: Inputs, method: str, within: str = "") -> Outcome:
        return outcome(twin, inputs, method, within=within, decisions=self._decisions)

    def require(self, result: nn.Module, what: str, advice: str, *, within: str = "", values: bool = True) -> None:
        """Raise if a transformed network differs.

        Args:
            result: The transformed network.
            what: Its name in the error message.
            advice: What the user can do.
            within: Name of the submodule that corresponds to the original network, if not `result` itself.
            values: Whether values are compared, if the reference has them.

        Raises:
            SkipweaveError: The network differs.
        """
        if words := self.difference(result, within=within, values=values):
            raise SkipweaveError(f"{what} would differ from the original one: {words}. {advice}")


def _rounded(x: Tensor) -> Tensor:
    """The tensor with random errors of the size of rounding errors."""
    if not x.is_floating_point():
        return x
    errors = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), device="cpu")
    return (x * (1 + torch.finfo(x.dtype).eps * errors.to(x.device))).to(x)

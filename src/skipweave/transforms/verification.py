"""The one check of every transform: a network and what was made of it, run on the same inputs and compared."""

import torch
from torch import Tensor, nn

from skipweave.errors import SkipweaveError
from skipweave.tracing.copies import replica
from skipweave.tracing.dataflow import METHODS, sizes_follow_values
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.network_outputs import Outcome, difference, outcome
from skipweave.tracing.replicas import Trials


class Reference:
    """What a network gives on its trials: two batch sizes, and several image sizes where it accepts them.

    Compared are containers and their keys, lengths, shapes and dtypes of all that the network returns or keeps in its
    modules, in evaluation mode; and the numbers, if the function is to be kept. Neither network is touched: replicas
    run, without the user's hooks, and random numbers stay where they were.

    Args:
        model: The network given.
        trials: What it is run with.
        values: Whether numbers count, as far as rounding allows (`network_outputs.difference`). They cannot be compared
            on the meta device.

    Raises:
        SkipweaveError: The network cannot run on the first inputs.
    """

    def __init__(self, model: nn.Module, trials: Trials, *, values: bool) -> None:
        self._values = values and not any(parameter.is_meta for parameter in model.parameters())
        self._trials = Trials(trials.inputs, None) if self._values else trials
        self._sizes = not sizes_follow_values(model, trials)
        self._decisions = values and bool(outcome(trials.replica(model), next(trials.here()), decisions=True).hanging)
        twin, other = self._trials.replica(model), self._trials.replica(model)
        self._expected: list[tuple[Inputs, str, Outcome]] = []
        for number, inputs in enumerate(self._trials.here()):
            for method in METHODS if values and number == 0 else METHODS[:1]:
                if hasattr(twin, method):
                    try:
                        found = self._outcome(twin, inputs, method)
                        if self._values:
                            found = found.beside(self._outcome(other, inputs.map(_rounded), method))
                        self._expected.append((inputs, method, found))
                    except SkipweaveError:  # what the network does not accept is not held against results
                        if not self._expected:
                            raise

    def difference(self, result: nn.Module, *, within: str = "", values: bool = True) -> str:
        """Say what a result does differently, or why it cannot run; empty where it does the same.

        Args:
            result: Of a transform.
            within: Name of the module that takes the given network's place, if the result is not that itself.
            values: Whether numbers count, if they count at all.
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
        """Refuse a result that does something else.

        Args:
            result: Of a transform.
            what: It is, in words.
            advice: What the user can do.
            within: Name of the module that takes the given network's place, if the result is not that itself.
            values: Whether numbers count, if they count at all.

        Raises:
            SkipweaveError: It does, and how.
        """
        if words := self.difference(result, within=within, values=values):
            raise SkipweaveError(f"{what} would not do what the given network does: {words}. {advice}")


def _rounded(x: Tensor) -> Tensor:
    """A tensor with errors such as rounding makes."""
    if not x.is_floating_point():
        return x
    errors = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), device="cpu")
    return (x * (1 + torch.finfo(x.dtype).eps * errors.to(x.device))).to(x)

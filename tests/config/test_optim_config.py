"""Optimizers of a config: names, defaults, and mistakes reported together."""

import pytest

from skipweave_config.config_files import as_plain
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import OptimConfig
from skipweave_config.validation import validate


def problems(**values: object) -> tuple[str, ...]:
    with pytest.raises(SkipweaveError) as caught:
        OptimConfig(**values)
    return caught.value.problems


def test_defaults_are_those_of_the_optimizer():
    assert (OptimConfig().lr, OptimConfig().momentum, OptimConfig().nesterov) == (0.1, 0.9, True)
    assert OptimConfig(momentum=0).nesterov is False
    adamw = OptimConfig("adamw", lr=0.001)
    assert (adamw.momentum, adamw.nesterov) == (0.0, False)
    assert (OptimConfig("muon", lr=0.02).momentum, OptimConfig("muon", lr=0.02).nesterov) == (0.9, False)
    assert OptimConfig("momentum", lr=0.1).nesterov is False


@pytest.mark.parametrize("config", [OptimConfig(), OptimConfig("adamw", lr=1e-3), OptimConfig("rmsprop", lr=1e-3)])
def test_a_written_config_is_read_as_it_was(config: OptimConfig):
    assert validate(OptimConfig, as_plain(config)) == config


def test_a_name_that_is_almost_right_is_named():
    (problem,) = problems(name="adamwx", lr=0.1)
    assert problem.startswith("name is 'adamwx': did you mean adamw, ")
    assert len(problem) < 250


def test_a_learning_rate_is_needed_but_for_sgd():
    (problem,) = problems(name="adamw")
    assert problem.startswith("lr is None: should be given for adamw")


def test_mistakes_are_reported_together():
    found = problems(
        name="adamw", lr=0.1, momentum=0.5, nesterov=True, args={"betta": 1, "epss": 2}, accumulate=0, clip_grad=0
    )
    begins = [
        "momentum is 0.5: should be 0 with the optimizer adamw",
        "nesterov is True: should be false with the optimizer adamw",
        "clip_grad is 0: ",
        "accumulate is 0: ",
        "args: unknown argument 'betta' of adamw: did you mean betas?",
        "args: unknown argument 'epss' of adamw: did you mean eps?",
    ]
    assert [problem[: len(begin)] for problem, begin in zip(found, begins, strict=True)] == begins


def test_groups_take_over_the_options_of_the_same_optimizer():
    optim = OptimConfig(
        "sgd",
        lr=0.2,
        momentum=0.5,
        weight_decay=0.1,
        groups=[
            dict(parameters=["*.bias"], lr=0.4),
            dict(parameters=["head.*"], name="muon", lr=0.3, normalize_filters=True, epochs=3),
        ],
    )
    same, other = (group.optimizer(vars(optim)) for group in optim.groups)
    assert same == OptimConfig("sgd", lr=0.4, momentum=0.5, weight_decay=0.1)
    assert other == OptimConfig("muon", lr=0.3, normalize_filters=True)
    assert validate(OptimConfig, as_plain(optim)) == optim


def test_mistakes_in_groups_are_reported_together():
    found = problems(
        lr=0.2,
        groups=[
            dict(parameters=["*.bias"], name="adamw"),
            dict(parameters=["*.bias"], momentum=2.0),
            dict(parameters=["*.bias"], args={"dampning": 1}),
        ],
    )
    begins = [
        "groups: [0]: lr is None: should be given for adamw",
        "groups: [1]: momentum is 2.0: ",
        "groups: [2]: args: unknown argument 'dampning' of sgd: did you mean dampening?",
    ]
    assert [problem[: len(begin)] for problem, begin in zip(found, begins, strict=True)] == begins
    (problem,) = problems(groups=[dict(parameters=[])])
    assert problem.startswith("groups[0].parameters is ")

"""Memory of networks of a study against what a step on the CPU holds."""

from functools import partial

import torch

from skipweave import create_model
from skipweave.analysis.memory import peak_inference_bytes
from skipweave.analysis.profile import profile
from skipweave.data import DataConfig, load
from skipweave.study.memory import inference_bytes, training_bytes
from skipweave.training.memory_plan import plan_memory
from skipweave.training.tasks.task import Classification
from skipweave_config.recipe import EmaConfig, OptimConfig
from skipweave_config.study_config import StudyConfig

make = partial(create_model, "sparsenet40_24", units=2, growth=4, in_chans=1)


def test_training_memory_is_that_of_a_plan_without_limit():
    config, data = StudyConfig(), load(DataConfig())
    plan = plan_memory(make, Classification(10), config.optim, (1, 8, 8), batch_size=64, limit=2**40)
    assert training_bytes(make, config, data, config.batch_size, grad_checkpointing=False) == plan.bytes
    network = make()
    state = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    averaged = StudyConfig(ema=EmaConfig(decay=0.9))
    assert training_bytes(make, averaged, data, config.batch_size, grad_checkpointing=False) == plan.bytes + state


def test_an_optimizer_that_depends_on_values_has_no_training_memory():
    config = StudyConfig(optim=OptimConfig("adamp", lr=0.1))
    assert training_bytes(make, config, load(DataConfig()), config.batch_size, grad_checkpointing=False) is None


def test_inference_memory_is_weights_image_and_maps():
    network, image = make().eval(), torch.zeros(1, 1, 8, 8)
    state = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    with torch.device("meta"):
        maps = peak_inference_bytes(make(), torch.empty(1, 1, 8, 8))
    assert inference_bytes(network, profile(network, (1, 8, 8))) == 4 * (state + image.numel()) + maps

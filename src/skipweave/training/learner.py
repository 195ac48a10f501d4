"""A network and its optimizer on their device: the training step, and their state in a checkpoint."""

import gc
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.utils import ModelEmaV3
from torch import Tensor, distributed, nn
from torch.nn import functional

from skipweave.data import mix_seed
from skipweave.models.heads import count_heads
from skipweave.training.auxiliary_heads import AllHeads, LossWeights
from skipweave.training.checkpoint.optimizer_state import names_in_order, pack, unpack
from skipweave.training.checkpoint.tensor_file import Saved, without_prefix
from skipweave.training.compilation import compile_errors, compile_heads
from skipweave.training.densification import make_densifier
from skipweave.training.distributed.synchronization import sum_over_processes
from skipweave.training.freezing import freeze
from skipweave.training.model_building import build_network, check_labels, enable_grad_checkpointing
from skipweave.training.optimization.mixing import make_mixer
from skipweave.training.optimization.optimizers import clip_gradients, make_optimizer
from skipweave.training.tasks.task import Task
from skipweave.transforms.compression.densify import match_fan_ins
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig
from skipweave_config.recipe import scaled_side

NETWORK, EMA, OPTIMIZER = "network/", "ema/", "optimizer/"


class Learner:
    """A network in training.

    Args:
        fabric: Devices, precision and processes.
        config: The config.
        args: All of the network's overrides.
        task: What is to be learned.

    Raises:
        SkipweaveError: The network cannot be built, or is not for the task.

    Attributes:
        network: Bare.
        ema: Its exponential moving average, by timm; None without one.
        optim: The optimizer's config.
        heads: The same network as Fabric wraps it, to be called: images to the logits of each head, its own last.
        loss_weights: The weight of each head's loss, by epoch.
        compile: What is compiled for training.
        density: Density of the network's sparse layers at the present step, if links are added; else None.
    """

    def __init__(self, fabric: Fabric, config: FitConfig, args: Mapping[str, Any], task: Task) -> None:
        torch.manual_seed(mix_seed(config.seed))
        self.fabric = fabric
        self.task = task
        self.name = config.model.name
        self.network = build_network(config.model.name, args)
        check_labels(self.name, self.network, pixels=task.labels_pixels)
        if config.grad_checkpointing:
            enable_grad_checkpointing(self.name, self.network)
        self._frozen = freeze(self.name, self.network, config.freeze, norms=config.freeze_norms)
        self.loss_weights = LossWeights(config.loss, count_heads(self.network), config.epochs)
        self.optim = config.optim
        self.optimizer = make_optimizer(config.optim, self.network)
        self.parameter_names = names_in_order(self.optimizer, self.network)
        self.density: float | None = None
        self._densifier = make_densifier(config.densify, self.network, args, config.seed)
        self._mixer = make_mixer(config.mix, args["num_classes"])
        self._mixed_epochs = config.epochs - config.mix.last_epochs
        self._mixing = False
        self._progressive, self._scale = config.progressive, 1.0
        self._step = 0
        self.ema = (
            ModelEmaV3(self.network, config.ema.decay, use_warmup=config.ema.warmup) if config.ema.decay else None
        )
        self.compile = config.compile
        self._all_heads = AllHeads(self.network)
        compile_heads(self._all_heads, self.compile)
        self.heads, self._stepper = fabric.setup(self._all_heads, self.optimizer)
        self._ema_heads = fabric.setup_module(AllHeads(self.ema.module)) if self.ema else None

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and to save, bare: the average, or without one the network in training."""
        return self.ema.module if self.ema else self.network

    @property
    def evaluated_heads(self) -> nn.Module:
        """The same as Fabric wraps it: images to the logits of each head."""
        return self._ema_heads or self.heads

    def start_step(self, step: int) -> None:
        """Add links if the config densifies the network before this step of the run, counted from 0."""
        self._step = step
        if self._densifier:
            self.density = self._densifier.density(step)
            if self._densifier.prepare(self.network, self.optimizer, step, self.fabric):
                self.set_up_again()

    def adds_links(self, step: int) -> bool:
        """Whether the network gets new links before a step of the run, counted from 0."""
        return self._densifier is not None and self._densifier.adds_links(step)

    def set_up_again(self) -> None:
        """Set up a network whose weights were resized for several processes, which average gradients of fixed sizes.

        The first process's weights, also those of new links, are copied to the others.
        """
        if self.fabric.world_size > 1:
            del self.heads
            gc.collect()  # the old wrapper's hooks
            self.heads = self.fabric.setup_module(self._all_heads)

    def start_epoch(self, epoch: int = 0) -> None:
        """Set training mode, except for what is frozen, and how to change images in this epoch, counted from 0.

        Parameters whose epochs are over get no gradients any more, which saves time. In several processes they do, as
        these wait for the gradients of all parameters, but their learning rate is 0.
        """
        self.heads.train()
        for module in self._frozen:
            module.eval()
        self._mixing = epoch < self._mixed_epochs
        self._scale = self._progressive.scale_in(epoch)
        for group in self.optimizer.param_groups:
            if group.get("epochs") and epoch >= group["epochs"] and self.fabric.world_size == 1:
                for parameter in group["params"]:
                    parameter.requires_grad_(False)

    def backward(self, images: Tensor, labels: Tensor, head_weights: Sequence[float], last: bool = True) -> Tensor:
        """Add the gradients of the loss of a batch to those of the step, without waiting for the device.

        Args:
            images: Of this process.
            labels: Their labels.
            head_weights: The weight of each head's loss.
            last: Whether this is the last batch of the step, after which processes average their gradients.

        Returns:
            The batch's sums, as the task counts them, of this process and on its device. Predictions of mixed images
            are compared with the label of the largest weight.

        Raises:
            SkipweaveError: torch cannot compile the network.
        """
        images, labels = self.fabric.to_device((images, labels))
        targets = labels
        if self._scale != 1:
            size = [scaled_side(full, self._scale) for full in images.shape[2:]]
            images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        if self._mixer and self._mixing:
            images, targets = self._mixer(images, labels)
            labels = targets.argmax(1) if targets.dim() > 1 else targets
        with compile_errors(self.compile), self.fabric.no_backward_sync(self.heads, enabled=not last):
            heads = self.heads(images)
            loss = self.task.loss(heads, targets, head_weights)
            self.fabric.backward(loss / self.optim.accumulate)
        return self.task.batch_sums(heads[-1].detach(), labels, loss)

    def optimizer_step(self, lr: float, ending: Mapping[int, float] | None = None) -> None:
        """Update the weights, and their average, and release the gradients.

        Args:
            lr: The learning rate.
            ending: That of parameters which are not trained to the end, by the number of their epochs.
        """
        for group in self.optimizer.param_groups:
            epochs = group.get("epochs")
            group["lr"] = (ending[epochs] if ending and epochs else lr) * group.get("lr_scale", 1)
        if self.optim.clip_grad is not None:
            self.fabric.strategy.precision.unscale_gradients(self.optimizer)
            clip_gradients(self.optim, self.network)
        self._stepper.step()
        self._stepper.zero_grad()
        if self.ema:
            self.ema.update(self.network, step=self._step + 1)

    def start_evaluation(self) -> None:
        """Set evaluation mode, with the running statistics of the first process in every process."""
        if self.fabric.world_size > 1:
            for buffer in (*self.network.buffers(), *(self.ema.buffers() if self.ema else ())):
                distributed.broadcast(buffer, 0)
        self.heads.eval()

    @property
    def overflows(self) -> bool:
        """Whether float16's gradients are non-finite at every loss scale from 1 up.

        Read at every step of float16 only, where the scaler waits for the device at every step anyway.
        """
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        return scaler is not None and scaler.get_scale() < 1

    def is_finite(self) -> bool:
        """Whether every weight, statistic and moment of every process is finite."""
        finite = [torch.isfinite(tensor).all().to(self.fabric.device) for tensor in self.state()[0].values()]
        wrong = (~torch.stack(finite)).sum()
        return int(sum_over_processes(wrong, self.fabric)) == 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state that a step changes, as named tensors and plain values."""
        moments, values, groups = pack(self.optimizer, self.parameter_names)
        tensors = {NETWORK + name: tensor for name, tensor in self.network.state_dict().items()}
        if self.ema:
            tensors |= {EMA + name: tensor for name, tensor in self.ema.module.state_dict().items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in moments.items()}
        precision = self.fabric.strategy.precision.state_dict()
        return tensors, {"optimizer": values, "optimizer_groups": groups, "precision": precision}

    def load_state(self, saved: Saved) -> None:
        """Load what `state` returned.

        Raises:
            SkipweaveError: The file is of another network, or damaged.
        """
        resized = match_fan_ins(self.network, without_prefix(saved.shapes, NETWORK))
        self._expect(saved, NETWORK)
        if self.ema:
            self._expect(saved, EMA)
        tensors = saved.tensors()
        self.network.load_state_dict(without_prefix(tensors, NETWORK))
        if self.ema:
            self.ema.module.load_state_dict(without_prefix(tensors, EMA))
        try:
            groups = saved.info.get("optimizer_groups", [])  # not in older files
            moments = without_prefix(tensors, OPTIMIZER)
            unpack(self.optimizer, self.parameter_names, moments, saved.info["optimizer"], groups)
            self.fabric.strategy.precision.load_state_dict(saved.info["precision"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SkipweaveError(f"the optimizer's state in {saved.path} does not fit the config ({error})") from error
        if resized:
            self.set_up_again()

    def load_weights(self, saved: Saved) -> None:
        """Load the tensors of a network only, into the one in training and its average.

        Raises:
            SkipweaveError: The file is of another network, or damaged.
        """
        resized = match_fan_ins(self.network, saved.shapes)
        self._expect(saved, "")
        self.network.load_state_dict(saved.tensors())
        if resized:
            self.set_up_again()
        if self.ema:
            self.ema.set(self.network)

    def _expect(self, saved: Saved, prefix: str) -> None:
        saved.expect(self.network.state_dict(), prefix, self.name)


def check_moments(saved: Saved, network: Mapping[str, Tensor]) -> None:
    """Check by a file's header that its optimizer state belongs to the tensors of a network.

    Args:
        saved: The file.
        network: The tensors, by name; they may be on the meta device.

    Raises:
        SkipweaveError: A tensor is larger than the one that it is kept for, or is of neither network nor optimizer.
    """
    for name, shape in saved.shapes.items():
        kept_for = name.removeprefix(OPTIMIZER).rpartition("/")[0]
        whose = network.get(kept_for) if name.startswith(OPTIMIZER) else None
        if not name.startswith((NETWORK, EMA)) and (whose is None or prod(shape) > whose.numel()):
            raise SkipweaveError(f"{saved.path} is not of this network: tensor {name} does not belong to its optimizer")

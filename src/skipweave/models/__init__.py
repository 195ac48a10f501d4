"""The model families, one file each. Importing this package registers all published variants with timm."""

from skipweave.models.cifar_resnet import CifarResNet
from skipweave.models.delugenet import DelugeNet
from skipweave.models.densenet_state_dict import from_densenet_layout
from skipweave.models.fast_sparsenet import FastSparseNet
from skipweave.models.fc_densenet import FCDenseNet, FCLogDenseNet
from skipweave.models.fractalnet import FractalNet
from skipweave.models.hardnet import HarDNet
from skipweave.models.kept_links import keep_links
from skipweave.models.log_densenet import LogDenseNetV1, LogDenseNetV2
from skipweave.models.plain import PlainNet
from skipweave.models.registry import arguments_of, check_pretrained, create_model, list_models, pretrained_statistics
from skipweave.models.seqresnet import SeqResNet
from skipweave.models.sparsenet import SparseNet
from skipweave.models.sparsenet_sum import SparseSumNet

__all__ = [
    "CifarResNet",
    "DelugeNet",
    "FCDenseNet",
    "FCLogDenseNet",
    "FastSparseNet",
    "FractalNet",
    "HarDNet",
    "LogDenseNetV1",
    "LogDenseNetV2",
    "PlainNet",
    "SeqResNet",
    "SparseNet",
    "SparseSumNet",
    "arguments_of",
    "check_pretrained",
    "create_model",
    "from_densenet_layout",
    "keep_links",
    "list_models",
    "pretrained_statistics",
]

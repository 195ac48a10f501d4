"""Options of the commands. A field without default is a positional argument, as is one that is marked POSITIONAL."""

import re
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from skipweave_config.engines import Engine, Precision, Weights
from skipweave_config.fields import (
    FilePath,
    Flag,
    Fraction,
    NonNegativeInteger,
    PlainValues,
    PositiveInteger,
    PositiveNumber,
    Text,
    not_empty,
)
from skipweave_config.fit_config import Accelerator, FitConfig
from skipweave_config.recipe import TestTimeAugmentation
from skipweave_config.shipped_weights import default_classifier
from skipweave_config.study_config import StudyConfig
from skipweave_config.validation import Config

POSITIONAL = "positional"


def _ends_in_csv(path: Path) -> Path:
    if path.suffix != ".csv":
        raise ValueError("should be a name that ends in .csv")
    return path


CsvPath = Annotated[FilePath, AfterValidator(_ends_in_csv)]
Which = Literal["best", "last", "raw"]
InputSize = tuple[PositiveInteger, PositiveInteger, PositiveInteger]
Workers = Annotated[NonNegativeInteger, Field(le=1024)]


class ModelsOptions(Config):
    """List the models.

    Attributes:
        filter: Part of a name, or a pattern such as "sparsenet*"; all models by default.
        pretrained: Whether to list pretrained weights, with the test error of those that ship with skipweave.
    """

    filter: Annotated[Text, POSITIONAL] = ""
    pretrained: Flag = False


class ShowOptions(Config):
    """Print cost and connections of a model. No memory is allocated for its weights, unless it is sparse.

    Of a sparse model (--args.sparsify) each sparse layer is listed: how many inputs its outputs read, how many paths
    lead from the image to one of them on average, and how many of them differ by their paths.

    Attributes:
        model: A name that `skipweave models` lists.
        args: Arguments of the model, for example --args.growth 12 --args.topology dense; --args.depth_multiplier 0.5
            and --args.sparsify 0.1 thin it.
        input_size: Channels, height and width of the images; the model's own by default.
        convention: Also print FLOPs as these papers count them.
        save: Path of a figure of the connections, saved as SAVE.png and SAVE.svg; in an existing directory, under the
            model's name. Of sparse layers, also the channels that they read (SAVE_channels) and how many paths
            lead to their units (SAVE_paths). Existing files are not overwritten.
    """

    model: Text
    args: PlainValues = field(default_factory=dict)
    input_size: InputSize | None = None
    convention: tuple[Literal["sparsenet", "log_densenet", "seqconv", "delugenet"], ...] = ()
    save: FilePath | None = None


class LedgerOptions(Config):
    """Compare the figures that the papers print with those of the models here.

    Attributes:
        paper: The paper, or HarDNet's for the baselines of that name; all by default.
        build: Build the networks and count again, which takes minutes, instead of comparing the stored figures.
        save: Directory for plots of published errors against parameters, operations and time, as PNG and SVG. Existing
            files are not overwritten.
    """

    paper: Literal["sparsenet", "log_densenet", "seqconv", "delugenet", "channel_sparsity", "hardnet"] | None = None
    build: Flag = False
    save: FilePath | None = None


class CheckDataOptions(Config):
    """Read every image of every split as in training, and list what is wrong with files, sizes, labels and directories.

    `bad` entries stop training or evaluation; `note` entries do not. The exit status is 2 if there are bad entries.

    Attributes:
        config: The config, as for `skipweave fit`, of which only the data is used.
        save: Path of a new .csv file for the list.
        workers: Worker processes; one per core by default.
    """

    config: FitConfig
    save: CsvPath | None = None
    workers: Workers | None = None

    @field_validator("save")
    @classmethod
    def _check_save(cls, save: Path | None, info: ValidationInfo) -> Path | None:
        if save is None and "config" in info.data and info.data["config"].output.suffix == ".csv":
            raise ValueError("should be the .csv file; output is the directory of runs")
        return save


class FitOptions(Config):
    """Train a model on images. By default: a SparseNet on scikit-learn's handwritten digits.

    Attributes:
        config: The config.
        resume: Run directory to resume from its last checkpoint, with its config. With more --epochs the run is
            extended, finished or not; from there on the learning rate is that of a run of so many epochs.
    """

    config: FitConfig
    resume: FilePath | None = None


class FindLrOptions(Config):
    """Train a few steps while the learning rate rises, and suggest one: a tenth of that of the lowest loss.

    Losses are smoothed. The test ends early once the loss is four times its lowest. No run directory is written.

    Attributes:
        config: The config, as for `skipweave fit`; its learning rate and schedule are not used.
        start_lr: First learning rate.
        end_lr: Last learning rate.
        steps: Number of steps.
        save: A new .csv file for the losses; they are plotted in an SVG file of the same name.
    """

    config: FitConfig
    start_lr: PositiveNumber = 1e-6
    end_lr: PositiveNumber = 10.0
    steps: Annotated[PositiveInteger, Field(ge=10, le=10_000)] = 100
    save: CsvPath | None = None

    @field_validator("end_lr")
    @classmethod
    def _check_end_lr(cls, end_lr: float, info: ValidationInfo) -> float:
        if end_lr <= info.data.get("start_lr", 0):
            raise ValueError(f"should be more than start_lr, which is {info.data['start_lr']:g}")
        return end_lr


class StudyOptions(Config):
    """Train several models on one dataset under one recipe, and report which has the lowest error for its cost.

    By default: five models of 40 layers that differ only in topology and aggregation, on scikit-learn's handwritten
    digits. If interrupted, the same command resumes the study.

    Attributes:
        config: The config.
        resume: Directory of a study to resume, with its config.
    """

    config: StudyConfig
    resume: FilePath | None = None


class StudyPlanOptions(Config):
    """Write the config of a study into its directory, without training, and list its runs.

    Any scheduler can then do the runs, in any order and on any machine that sees the directory: `skipweave study run
    FOLDER --index N`. Afterwards `skipweave study --resume FOLDER` writes the report.

    Attributes:
        config: The config.
    """

    config: StudyConfig


class StudyRunOptions(Config):
    """Do one run of a study's plan. What it began before is resumed; a run that is done is not repeated.

    Attributes:
        folder: Directory of the study, as `skipweave study plan` or an interrupted `skipweave study` left it.
        index: Number of the run, from 0, as `skipweave study status` lists it.
    """

    folder: FilePath
    index: NonNegativeInteger | None = None

    @field_validator("index")
    @classmethod
    def _check_index(cls, index: int | None) -> int:
        if index is None:
            raise ValueError("should be given, such as --index 0")
        return index


class StudyStatusOptions(Config):
    """List the runs of a study: which are done, running, begun or left, and the epochs and test metric of each.

    Attributes:
        folder: Directory of the study.
        left: Print only the indices of the runs that are left, or begun and not running, as 0-3,7, for a scheduler's
            array.
    """

    folder: FilePath
    left: Flag = False


class EvaluateOptions(Config):
    """Evaluate a run: overall metrics, and precision, recall and more of each class.

    Attributes:
        run: Run directory.
        model: Exported model to evaluate in place of the run's network: an .onnx file, or an .xml file next to its
            .bin file. It runs in ONNX Runtime or OpenVINO, on the CPU; early exits are not evaluated.
        which: Checkpoint: `best` by the monitored metric, `last`, or `raw`, the last without averaging (`ema.decay`).
        root: Directory of the dataset, if it has moved.
        tta: Test-time augmentation: `flip` averages logits over the image and its mirror image; `flip_shift` also over
            crops shifted by one pixel, for classification.
        top: Print also the top-K error, of K = 2 to 10, for one label per image.
        save: Directory for metrics.json, per_class.csv, confusion.csv, and for one label per image or mask
            confusion.png and confusion.svg; for classification also predictions.csv, with the label and probabilities
            of each image. Existing files are not overwritten.
        accelerator: Device type.
        workers: Worker processes that load data.
    """

    run: FilePath
    model: FilePath | None = None
    which: Which = "best"
    root: FilePath | None = None
    tta: TestTimeAugmentation = "none"
    top: Annotated[PositiveInteger, Field(ge=2, le=10)] | None = None
    save: FilePath | None = None
    accelerator: Accelerator = "auto"
    workers: Workers = 0


class ExitsOptions(Config):
    """Print cost and error of each exit of a run's model; with --save also draw what they predict.

    Attributes:
        run: Run directory.
        split: Split to evaluate; `train` is not augmented.
        which: Checkpoint: `best` by the monitored metric, `last`, or `raw`, the last without averaging.
        image: Index of the image to draw; 0 by default.
        save: Path of a figure of that image, its segmentation mask and the masks predicted by the exits, saved as
            SAVE.png and SAVE.svg. Existing files are not overwritten.
        root: Directory of the dataset, if it has moved.
        accelerator: Device type.
        workers: Worker processes that load data.
    """

    run: FilePath
    split: Literal["train", "validation", "test"] = "test"
    which: Which = "best"
    image: NonNegativeInteger | None = None
    save: FilePath | None = None
    root: FilePath | None = None
    accelerator: Accelerator = "auto"
    workers: Workers = 0

    @field_validator("save")
    @classmethod
    def _check_save(cls, save: Path | None, info: ValidationInfo) -> Path | None:
        if save is None and info.data.get("image") is not None:
            raise ValueError("should be the path of the figure of --image")
        return save


class PlotOptions(Config):
    """Plot the connections of a network and the weights of its links, and print their values.

    Attributes:
        network: Run directory, weights file or hf-hub:USER/REPO; or a model name, for its connections.
        kind: Plot; by default all that the network has.
        save: A directory for KIND.svg, KIND.png and the values as KIND.csv of each plot; or, for a single kind, a file
            that ends in .svg, .png, .pdf or .csv. Existing files are not overwritten.
        which: Checkpoint of a run: `best` by the monitored metric, `last`, or `raw`, the last without averaging.
    """

    network: Text
    kind: Literal["connections", "reuse", "groups", "norms"] | None = None
    save: FilePath | None = None
    which: Which = "best"


class PruneLinksOptions(Config):
    """List the links of a trained model with a small weight, and report what removing them saves.

    Attributes:
        run: Run directory.
        below: Threshold, relative to the largest weight of the same unit.
        output: New directory for the model without these links, to be evaluated, or fine-tuned with `skipweave fit
            --config OUTPUT/config.yaml`; nothing is written by default.
        which: Checkpoint: `best` by the monitored metric, `last`, or `raw`, the last without averaging.
    """

    run: FilePath
    below: PositiveNumber = 0.1
    output: FilePath | None = None
    which: Which = "best"


class PredictOptions(Config):
    """Predict the classes of images, or their segmentation masks.

    Without --run and --model, a classifier that ships with skipweave predicts one of the ten classes of CIFAR-10.

    Attributes:
        images: Image files, or directories of images.
        run: Run directory, finished or not.
        model: Weights instead: the name of some that ship with skipweave (`skipweave models --pretrained`); a weights
            file, such as a run's model.safetensors; an exported .onnx or .xml file; or hf-hub:USER/REPO[@REVISION],
            whose model.safetensors is downloaded from the Hugging Face Hub.
        top: Number of classes to print per image.
        threshold: Least probability of a predicted class, where images have any number of labels.
        output: A new .csv or .json file for the predicted classes and the probability of every class; for segmentation
            a directory, `predictions` by default, for NAME_labels.png, whose values are the labels, and
            NAME_overlay.png of each image.
        soft_masks: For segmentation also write NAME_probability_LABEL.png per class: 16-bit images, 65535 is 1.
        tta: Test-time augmentation: `flip` averages logits over the image and its mirror image; `flip_shift` also over
            crops shifted by one pixel, for classification.
        batch_size: Images at a time; segmentation takes one, as sizes may differ.
        engine: Engine that runs the network: torch by default; for .onnx files onnxruntime, for .xml files openvino.
            The other engines than torch run on the CPU.
        precision: Precision of computation; bf16 is for openvino.
        accelerator: Device type, for torch.
    """

    images: Annotated[tuple[FilePath, ...], AfterValidator(not_empty)]
    run: FilePath | None = None
    model: FilePath | None = None
    top: PositiveInteger = 3
    threshold: Fraction = 0.5
    output: FilePath | None = None
    soft_masks: Flag = False
    tta: TestTimeAugmentation = "none"
    batch_size: PositiveInteger = 64
    engine: Engine | None = None
    precision: Precision = "float32"
    accelerator: Accelerator = "auto"

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("run") and model:
            raise ValueError("should be left out with --run")
        if "run" in info.data and not (info.data["run"] or model):
            default_classifier()
        return model

    @property
    def uses_default(self) -> bool:
        """Whether the default classifier predicts."""
        return not (self.run or self.model)


class ExportOptions(Config):
    """Export a trained model to ONNX or OpenVINO, or as a directory that timm and the Hugging Face Hub take.

    Outputs of engines are compared with the model's first.

    Attributes:
        network: A run directory, a weights file, or hf-hub:USER/REPO.
        output: Directory for model.onnx; for openvino model.xml and model.bin; for timm model.safetensors, config.json
            and README.md. Existing files are not overwritten.
        formats: Formats.
        batch: Batch size of onnx and openvino models, which are a few percent faster in OpenVINO; any by default.
        weights: Weights of onnx and openvino: float16 halves the files and computes in float32; int8 quantizes weights
            and activations, calibrated on 300 training images of the run. The metric of a run's validation images is
            printed before and after.
        which: Checkpoint of a run: `best` by the monitored metric, `last`, or `raw`, the last without averaging.
        root: Directory of the run's dataset, if it has moved; for weights other than float32.
    """

    network: Text
    output: FilePath = Path("exported")
    formats: Annotated[tuple[Literal["onnx", "openvino", "timm"], ...], AfterValidator(not_empty)] = ("onnx",)
    batch: PositiveInteger | None = None
    weights: Weights = "float32"
    which: Which = "best"
    root: FilePath | None = None


class PublishOptions(Config):
    """Measure the model of a finished run on its test images, and write it as pretrained weights with a model card.

    The result is a directory MODEL.TAG as of `skipweave export --formats timm`, with float16 weights. MODEL is the
    registered name that has the run's arguments, by default the run's own. In the package's directory of weights, which
    is the default, they ship with skipweave.

    Attributes:
        run: Run directory.
        tag: Tag of the weights, such as cifar10.
        commit: Commit of skipweave that trained the model; by default the one that the run recorded.
        device: Machine that trained it, such as "AMD EPYC 9B45, 2 cores"; by default the one that the run recorded.
        data_terms: Origin of the dataset and terms of its use; known for named datasets.
        output: Directory for MODEL.TAG; that of the package by default.
        which: Checkpoint of the run: `best` by the monitored metric, or `last`.
        root: Directory of the run's dataset, if it has moved.
    """

    run: FilePath
    tag: Text = ""
    commit: Text = ""
    device: Text = ""
    data_terms: Text = ""
    output: FilePath | None = None
    which: Literal["best", "last"] = "best"
    root: FilePath | None = None

    @field_validator("tag")
    @classmethod
    def _check_tag(cls, tag: str) -> str:
        if not re.fullmatch("[a-z0-9_]+", tag):
            raise ValueError("should be given as lower-case letters, digits and _, such as cifar10")
        return tag


class BenchOptions(Config):
    """Time inference and training steps of models in interleaved rounds, with lower bounds of the machine.

    Ratios are relative to the first model of --vs, or else the first model. Inference in torch is measured after
    `skipweave.optimize_for_inference`, in other engines after `skipweave.export_model`. Run it on an idle machine.

    Attributes:
        models: Names that `skipweave models` lists.
        vs: Models to compare with, such as torchvision:densenet121: our names, torchvision:NAME, timm:NAME.
        input_size: Channels, height and width of the images; those of the first model by default.
        batches: Batch sizes; training steps are measured for 2 or more.
        precisions: Precisions.
        engines: Engines of inference; float32 in all of them, bf16 in torch and openvino.
        memory_formats: Memory formats, for torch.
        compiled: Whether to use torch.compile, for torch: false, true, or both.
        modes: What to time.
        repeats: Number of rounds; the median is reported.
        device: Device: cpu or cuda.
        save: A new .csv file for all times; if the ledger has published errors of the models, they are plotted against
            the inference times in an SVG file of the same name.
    """

    models: Annotated[tuple[Text, ...], AfterValidator(not_empty)]
    vs: tuple[Text, ...] = ()
    input_size: InputSize | None = None
    batches: Annotated[tuple[PositiveInteger, ...], AfterValidator(not_empty)] = (1, 8)
    precisions: tuple[Precision, ...] = ("float32",)
    engines: Annotated[tuple[Engine, ...], AfterValidator(not_empty)] = ("torch",)
    memory_formats: tuple[Literal["contiguous", "channels_last"], ...] = ("contiguous", "channels_last")
    compiled: tuple[Flag, ...] = (False,)
    modes: tuple[Literal["inference", "step"], ...] = ("inference", "step")
    repeats: PositiveInteger = 10
    device: Text = "cpu"
    save: CsvPath | None = None


class EnvOptions(Config):
    """Print versions, the processor, and the implementation of channel-sparse convolutions used here, with the reason.

    Attributes:
        measure: Time the C library against dense convolutions first, and store the densities up to which it is faster.
    """

    measure: Flag = False

"""Configuration of the machines that train the runs of a study."""

from dataclasses import field

from skipweave_config.fields import (
    MemorySize,
    NonNegativeInteger,
    NonNegativeNumber,
    PositiveInteger,
    PositiveNumber,
    Text,
)
from skipweave_config.validation import Config


class ResourcesConfig(Config):
    """What each run of a study takes of a cluster.

    Attributes:
        cpus: CPU cores, and threads of PyTorch; null for 1 on a cluster, and on this machine for an equal share of its
            cores.
        gpus: GPUs; fractions, of which several runs share one GPU, with Ray only.
        memory: Memory, such as 8 GB; null for no limit with Ray, and the default of the partition with SLURM.
        accelerator_type: Kind of GPU as Ray names it, such as A100; empty for any.
        custom: Amounts of custom resources of a Ray cluster, by name.
    """

    cpus: PositiveInteger | None = None
    gpus: NonNegativeNumber = 0
    memory: MemorySize | None = None
    accelerator_type: Text = ""
    custom: dict[Text, PositiveNumber] = field(default_factory=dict)


class RayConfig(Config):
    """How a study runs on Ray.

    Attributes:
        address: Of a running cluster, HOST:PORT, or `auto` on one of its nodes; null to start one on this machine.
        retries: How many times a run is started again, from its last checkpoint, when the process or node that trains
            it is lost.
    """

    address: Text | None = None
    retries: NonNegativeInteger = 3


class SlurmConfig(Config):
    """How a study runs on SLURM, as an array of jobs.

    Attributes:
        partition: Partition; empty for the default one.
        account: Account to charge; empty for the default one.
        qos: Quality of service; empty for the default one.
        minutes: Time limit of a job. A run that is not finished by then is saved and queued again.
        timeouts: How many times a job may reach its time limit.
        notice_seconds: How long before the time limit a job is asked to save.
        setup: Lines of shell to run before each job, such as `module load cuda`.
        options: Further options of sbatch, by name, such as `constraint`.
    """

    partition: Text = ""
    account: Text = ""
    qos: Text = ""
    minutes: PositiveInteger = 1440
    timeouts: NonNegativeInteger = 10
    notice_seconds: PositiveInteger = 90
    setup: list[Text] = field(default_factory=list)
    options: dict[Text, Text] = field(default_factory=dict)

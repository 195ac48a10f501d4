"""The data type that autocast chooses for convolutions, for operations that prepare their input."""

import torch


def convolution_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Data type in which a convolution of a map on a device computes: autocast's where it is enabled, else its own.

    Autocast does not change float64.
    """
    kind = device.type
    if dtype == torch.float64 or not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return dtype
    return torch.get_autocast_dtype(kind)

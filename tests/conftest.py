"""Settings that every test shares."""

import torch
from hypothesis import settings

# The networks of the tests are tiny: threads would only wait for each other, all the more with several test workers.
torch.set_num_threads(1)

# The same examples in every run, and no limit on how long one may take: a busy machine fails no test.
settings.register_profile("skipweave", derandomize=True, deadline=None)
settings.load_profile("skipweave")

"""Settings that every test shares."""

import torch

# The networks of the tests are tiny: threads would only wait for each other, all the more with several test workers.
torch.set_num_threads(1)

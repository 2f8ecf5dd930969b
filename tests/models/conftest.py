"""One thread: the models of these tests are too small for more, and test processes run side by side."""

import torch

torch.set_num_threads(1)

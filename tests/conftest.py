"""One thread for PyTorch in tests: on matrices this small a second one waits longer than it works."""

import torch

torch.set_num_threads(1)

"""One thread for PyTorch: on matrices as small as in tests a second one waits longer than it works. And one seed."""

import hypothesis
import torch

torch.set_num_threads(1)

# The same examples in every run; how long one takes on a busy machine is no failure.
hypothesis.settings.register_profile("handmade", derandomize=True, deadline=None)
hypothesis.settings.load_profile("handmade")

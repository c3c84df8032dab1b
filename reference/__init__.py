"""The same networks in PyTorch: the twin, its gradient by autograd, and the run that compares everything."""

from .autograd import loss_and_gradient
from .twin import twin

__all__ = ["loss_and_gradient", "twin"]

"""The same networks in PyTorch (twins), their gradients by autograd, and a verification that compares everything."""

from .autograd import loss_and_gradient
from .twin import twin

__all__ = ["loss_and_gradient", "twin"]

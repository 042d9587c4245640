"""A small convolutional network (after LeNet-5, LeCun et al. 1998)."""

from typing import Any

from mpipar.errors import OptionError
from mpipar.nn.activation import ReLU
from mpipar.nn.container import Sequential
from mpipar.nn.conv import Conv2d, Flatten, MaxPool2d
from mpipar.nn.linear import Linear
from mpipar.nn.module import Module
from mpipar.tensor import Tensor, cross_entropy


class CNN(Sequential):
    """Stages of 3×3 convolution, ReLU and 2×2 pooling, then one linear layer.

    CNN((1, 8, 8)) fits digits(images=True), CNN((1, 28, 28)) mnist(images=True). With two
    stages the names are 0.weight, 3.weight, 7.weight and their biases, those of
    torch.nn.Sequential(Conv2d, ReLU, MaxPool2d, Conv2d, ReLU, MaxPool2d, Flatten, Linear).
    shapes: x (N, *image) -> (N, classes)
    errors: OptionError for an image too small to be halved once a stage
    """

    criterion = staticmethod(cross_entropy)

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 8, 8),
        classes: int = 10,
        channels: tuple[int, ...] = (16, 32),
        *,
        seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        depth, height, width = image
        if min(height, width) >> len(channels) < 1:
            raise OptionError(
                f"CNN: an image of {height}x{width} cannot be halved {len(channels)} times; "
                "give fewer channels or a larger image"
            )
        layers: list[Module] = []
        for out in channels:
            layers += [Conv2d(depth, out, 3, padding=1, dtype=dtype), ReLU(), MaxPool2d(2)]
            depth, height, width = out, height // 2, width // 2
        layers += [Flatten(), Linear(depth * height * width, classes, dtype=dtype)]
        super().__init__(*layers, seed=seed)

    def loss(self, x: Any, labels: Any, reduction: str = "mean") -> Tensor:
        """The cross-entropy of the classes, labels (N,)."""
        return self.criterion(self(x), labels, reduction)

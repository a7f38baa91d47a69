"""A small convolutional classifier of 28×28 images; frozen, a source of features.

Two blocks of two 3×3 convolutions (VGG, Simonyan & Zisserman 2015) with batch normalisation, then a
64-dimensional feature layer.
"""

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images (N, 1, 28, 28), uint8 or float in [0, 1] → logits (N, classes)."""

    def __init__(self, classes: int = 10, width: int = 16, feature_dim: int = 64):
        super().__init__()

        def block(c_in: int, c_out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(inplace=True),
                nn.Conv2d(c_out, c_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),  # halves height and width
            )

        # (N, 2·width·7·7)
        self.convolutions = nn.Sequential(block(1, width), block(width, 2 * width), nn.Flatten())
        self.features_layer = nn.Sequential(nn.Linear(2 * width * 49, feature_dim), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(feature_dim, classes))

    def features(self, x: Tensor) -> Tensor:
        """The layer before the classifier, (N, feature_dim)."""
        x = x / 255 if not x.is_floating_point() else x
        x = x.to(memory_format=torch.channels_last)
        return self.features_layer(self.convolutions(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

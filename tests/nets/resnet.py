"""Residual networks for CIFAR (He et al. 2016): the bottleneck ResNet-50 and ResNet-56 of basic blocks."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch norm."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(n_out))


class Basic(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without parameters (option A: missing channels are zeros)."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.conv2 = conv(n_in, width, 3, stride), conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))


class Bottleneck(nn.Module):
    """1 x 1 down, 3 x 3, 1 x 1 up to four times the width, beside a shortcut."""

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(n_in, width, 1), conv(width, width, 3, stride)
        self.conv3 = conv(width, 4 * width, 1)
        self.shortcut = nn.Identity() if stride == 1 and n_in == 4 * width else conv(n_in, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))) + self.shortcut(x))


class ResNet(nn.Module):
    """Stages of residual blocks: [B, 3, 32, 32] -> [B, n_classes]."""

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        n_classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = conv(3, widths[0], 3)
        n_in, stages = widths[0], []
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                stages.append(block(n_in, width, 2 if stage > 0 and index == 0 else 1))
                n_in = width * block.expansion
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(n_in, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.stages(F.relu(self.stem(images))).mean((2, 3)))


def resnet50_cifar() -> ResNet:
    """Bottlenecks 3, 4, 6, 3: what seed tables call ResNet-56 (23,520,842 parameters)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512))


def resnet56() -> ResNet:
    """Basic blocks 9, 9, 9 (853,018 parameters)."""
    return ResNet(Basic, (9, 9, 9), (16, 32, 64))

"""VGG-16 for CIFAR-10 with batch norm (Simonyan and Zisserman 2015): 14,728,266 parameters, 313.20M MACs."""

import torch
from torch import Tensor, nn

VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class Vgg(nn.Module):
    """Convolutions of 3 x 3 with batch norm and one linear layer: [B, 3, 32, 32] -> [B, n_classes]."""

    def __init__(self, layers: tuple[int | str, ...] = VGG16, n_classes: int = 10) -> None:
        super().__init__()
        features: list[nn.Module] = []
        n_in = 3
        for width in layers:
            if width == "M":
                features.append(nn.MaxPool2d(2))
                continue
            features += [nn.Conv2d(n_in, int(width), 3, padding=1), nn.BatchNorm2d(int(width)), nn.ReLU()]
            n_in = int(width)
        self.features = nn.Sequential(*features)
        self.classifier = nn.Linear(n_in, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(images), 1))

"""MobileNetV3-Large (Howard et al. 2019, table 1) with free widths inside its blocks.

Every block has the 1 x 1 layer up, the first one too: the tables of Liu and Lei (2022) prune it from 16 to 9.
"""

import torch.nn.functional as F
from torch import Tensor, nn

# kernel, width inside, width out, squeeze and excite, hard swish, stride
LARGE = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip
# Widths inside the blocks after pruning half of the filters (Liu and Lei 2022, table 5).
PRUNED = (9, 49, 42, 72, 102, 89, 223, 144, 139, 112, 209, 38, 540, 484, 255)


def divisible(width: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10% below `width`."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest


class SqueezeExcite(nn.Module):
    """Channels weighted by a small network on their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = divisible(width / 4)
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class Bneck(nn.Module):
    """1 x 1 up, depthwise, squeeze and excite, 1 x 1 down, beside a shortcut where shapes allow."""

    def __init__(self, n_in: int, kernel: int, width: int, n_out: int, se: bool, swish: bool, stride: int) -> None:
        super().__init__()
        act = nn.Hardswish if swish else nn.ReLU
        self.up = nn.Sequential(nn.Conv2d(n_in, width, 1, bias=False), nn.BatchNorm2d(width), act())
        self.depthwise = nn.Sequential(
            nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False), nn.BatchNorm2d(width), act()
        )
        self.se = SqueezeExcite(width) if se else nn.Identity()
        self.down = nn.Sequential(nn.Conv2d(width, n_out, 1, bias=False), nn.BatchNorm2d(n_out))
        self.residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(self.se(self.depthwise(self.up(x))))
        return x + y if self.residual else y


class MobileNetV3Large(nn.Module):
    """[B, 3, H, W] -> [B, n_classes]; `widths` replaces the widths inside the fifteen blocks."""

    def __init__(self, n_classes: int = 10, widths: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        blocks, n_in = [], 16
        for index, (kernel, width, n_out, se, swish, stride) in enumerate(LARGE):
            inside = widths[index] if widths else width
            blocks.append(Bneck(n_in, kernel, inside, n_out, se, swish, stride))
            n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Conv2d(160, 960, 1, bias=False), nn.BatchNorm2d(960), nn.Hardswish())
        self.classifier = nn.Sequential(nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, n_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(images))).mean((2, 3)))

"""The two networks of fednodule in plain PyTorch, for `fednodule export`ed weights.

    net = DetectionUNet()                                   # network xs; see WIDTHS for the others
    net.load_state_dict(torch.load("model.pth", weights_only=True))
    maps = net(x)                                           # x: [n, 1, d, h, w], normalised to [-1, 1]

Channels of the detection network's maps, one cell for 2 x 2 x 2 voxels: 0 centre logit, 1-3 offset of the centre in
cells (z, y, x), 4 ln(diameter / mm), 5-12 segmentation logits of the cell's voxels (pixel_unshuffle order).
"""
import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = {"xs": (16, 32, 64, 96), "s": (24, 48, 96, 160), "m": (32, 64, 128, 192), "l": (48, 96, 160, 224)}
SLOPE = 0.01


class ConvNormAct(nn.Module):
    def __init__(self, i, o, stride, group):
        super().__init__()
        self.conv = nn.Conv3d(i, o, 3, stride, 1)
        self.norm = nn.GroupNorm(o // group, o)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE)


class Residual(nn.Module):
    def __init__(self, c, group):
        super().__init__()
        self.first = ConvNormAct(c, c, 1, group)
        self.second = nn.Conv3d(c, c, 3, 1, 1)
        self.norm = nn.GroupNorm(c // group, c)

    def forward(self, x):
        return F.leaky_relu(x + self.norm(self.second(self.first(x))), SLOPE)


class Level(nn.Module):
    def __init__(self, i, o, blocks, down, group):
        super().__init__()
        if down:
            self.down = ConvNormAct(i, o, 2, group)
        self.blocks = nn.ModuleList(Residual(o, group) for _ in range(blocks))

    def forward(self, x):
        if hasattr(self, "down"):
            x = self.down(x)
        for block in self.blocks:
            x = block(x)
        return x


class Merge(nn.Module):
    def __init__(self, deep, o, group):
        super().__init__()
        self.reduce = nn.Conv3d(deep, o, 1)
        self.fuse = ConvNormAct(2 * o, o, 1, group)

    def forward(self, deep, skip):
        deep = F.interpolate(self.reduce(deep), scale_factor=2, mode="trilinear", align_corners=False)
        return self.fuse(torch.cat([skip, deep], 1))


def space_to_depth(x):
    n, c, d, h, w = x.shape
    x = x.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, d // 2, h // 2, w // 2)


class DetectionUNet(nn.Module):
    def __init__(self, widths=WIDTHS["xs"], blocks=(1, 1, 2, 2), group=8):
        super().__init__()
        self.stem = ConvNormAct(8, widths[0], 1, group)
        self.encoder = nn.ModuleList(
            Level(widths[max(i - 1, 0)], w, b, i > 0, group) for i, (w, b) in enumerate(zip(widths, blocks))
        )
        self.decoder = nn.ModuleList(Merge(d, w, group) for w, d in zip(widths, widths[1:]))
        self.head = nn.Conv3d(widths[0], 13, 1)

    def forward(self, x):
        x = self.stem(space_to_depth(x))
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        for merge, skip in zip(reversed(self.decoder), reversed(skips[:-1])):
            x = merge(x, skip)
        return self.head(x)


class DoubleConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv3d(i, o, 3, 1, 1), nn.BatchNorm3d(o)
        self.conv2, self.norm2 = nn.Conv3d(o, o, 3, 1, 1), nn.BatchNorm3d(o)

    def forward(self, x):
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class ClassicUNet(nn.Module):
    """Two output channels: background, nodule."""

    def __init__(self, widths=(32, 64, 128, 256)):
        super().__init__()
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip((1, *widths), widths))
        self.up = nn.ModuleList(nn.ConvTranspose3d(d, w, 2, 2) for w, d in zip(widths, widths[1:]))
        self.decoder = nn.ModuleList(DoubleConv(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv3d(widths[0], 2, 1)

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.encoder):
            x = block(x if i == 0 else F.max_pool3d(x, 2))
            skips.append(x)
        for up, block, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips[:-1])):
            x = block(torch.cat([skip, up(x)], 1))
        return self.head(x)

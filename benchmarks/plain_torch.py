"""What one writes by hand in PyTorch: two ResNets, a loss and a training step.

The layers, channels and strides are those of torchvision's, which need not be
installed.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize


class Block(nn.Module):
    """A basic block of two convolutions, or a bottleneck of three."""

    def __init__(self, inputs, channels, stride, is_bottleneck):
        super().__init__()
        outputs = 4 * channels if is_bottleneck else channels
        widths = (
            [(inputs, channels, 1, 1), (channels, channels, 3, stride)]
            if is_bottleneck
            else [(inputs, channels, 3, stride)]
        )
        body = []
        for width in widths:
            body += [*convolution(*width), nn.ReLU(inplace=True)]
        last = 1 if is_bottleneck else 3
        self.body = nn.Sequential(
            *body, *convolution(channels, outputs, last, 1)
        )
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                *convolution(inputs, outputs, 1, stride)
            )

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def convolution(inputs, outputs, size, stride):
    return (
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def resnet(blocks, is_bottleneck, is_small):
    """Returns a ResNet without its classifier, in channels last.

    Args:
        blocks: Blocks at each of four resolutions.
        is_bottleneck: Whether they have three convolutions.
        is_small: Whether images are: the stem then keeps their size.
    """
    stem = [*convolution(3, 64, *((3, 1) if is_small else (7, 2))), nn.ReLU()]
    if not is_small:
        stem.append(nn.MaxPool2d(3, 2, 1))
    body, inputs = [], 64
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            body.append(Block(inputs, 64 << stage, stride, is_bottleneck))
            inputs = (64 << stage) * (4 if is_bottleneck else 1)
    net = nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.width = inputs
    return net.to(memory_format=torch.channels_last)


def resnet18(is_small=True):
    return resnet((2, 2, 2, 2), is_bottleneck=False, is_small=is_small)


def resnet50(is_small=False):
    return resnet((3, 4, 6, 3), is_bottleneck=True, is_small=is_small)


def nt_xent(z, temperature=0.2):
    """Returns NT-Xent as a cross-entropy, for projections `(batch, 2, dim)`."""
    units = normalize(z.flatten(0, 1), dim=1)
    logits = units @ units.T / temperature
    logits.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(units), device=z.device) ^ 1
    return cross_entropy(logits, partner)


def training_step(net, views, is_mixed, compiles=False):
    """Returns a call that trains by one step of SGD on these views.

    Args:
        net: What gives `(images, net.width)`.
        views: Bytes `(batch, 2, height, width, channels)` on their device.
        is_mixed: Whether the net computes in bfloat16, by autocast.
        compiles: Whether `torch.compile` compiles net and loss.
    """
    head = nn.Sequential(
        nn.Linear(net.width, net.width), nn.ReLU(), nn.Linear(net.width, 128)
    )
    model = nn.Sequential(net, head).to(views.device).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)

    def loss_of(views):
        images = views.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(
            views.device.type, torch.bfloat16, enabled=is_mixed
        ):
            z = model(images)
        return nt_xent(z.float().unflatten(0, (-1, 2)))

    if compiles:
        loss_of = torch.compile(loss_of)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(views)
        loss.backward()
        optimizer.step()
        return loss

    return step

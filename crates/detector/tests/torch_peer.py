"""PyTorch's side of tests/torch.rs: python torch_peer.py COMMAND FOLDER. Arrays are raw little-endian f32."""
import pathlib
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "docs" / "pytorch"))
from fednodule_torch import ClassicUNet, DetectionUNet, space_to_depth  # noqa: E402

command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
torch.manual_seed(0)


def read(name, shape):
    return torch.from_numpy(np.fromfile(folder / name, "<f4").reshape(shape))


def write(name, tensor):
    tensor.detach().numpy().astype("<f4").tofile(folder / name)


def nodule_logits(two_classes):  # what Network::forward gives for the classic network
    return space_to_depth(two_classes[:, 1:] - two_classes[:, :1]).contiguous()


if command == "forward":  # weights and input from us -> PyTorch's output
    classic = sys.argv[3] == "classic"
    net = ClassicUNet((8, 16)) if classic else DetectionUNet((8, 16, 24), (1, 1, 2))
    net.load_state_dict(torch.load(folder / "model.pth", weights_only=True), strict=not classic)
    with torch.no_grad():
        maps = net.eval()(read("input.raw", (2, 1, 32, 32, 32)))
        write("output.raw", nodule_logits(maps) if classic else maps)
elif command == "classic":  # a state dict as PyTorch writes it -> file, input, output
    net = ClassicUNet((8, 16))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x = torch.randn(2, 1, 16, 16, 16)
    for _ in range(3):
        net(x)  # moves the running statistics
    torch.save(net.state_dict(), folder / "model.pth")
    write("input.raw", x)
    with torch.no_grad():
        write("output.raw", nodule_logits(net.eval()(x)))
elif command == "step":  # one AdamW step on a given linear objective <maps, slope>
    net = DetectionUNet((8, 16, 24), (1, 1, 2))
    net.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    x, slope = read("input.raw", (2, 1, 32, 32, 32)), read("slope.raw", (2, 13, 16, 16, 16))
    (net(x) * slope).sum().backward()
    write("gradients.raw", torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    for _ in range(3):
        optimizer.step()
    write("stepped.raw", torch.cat([p.detach().flatten() for p in net.parameters()]))
elif command == "classic_step":  # a training pass with the linear objective <maps, slope>
    net = ClassicUNet((8, 16))
    net.load_state_dict(torch.load(folder / "model.pth", weights_only=True), strict=False)
    x, slope = read("input.raw", (2, 1, 8, 8, 8)), read("slope.raw", (2, 8, 4, 4, 4))
    (nodule_logits(net.train()(x)) * slope).sum().backward()
    parameters = dict(net.named_parameters())
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    gradients = [parameters[k].grad if k in parameters else torch.zeros_like(v) for k, v in state.items()]
    write("gradients.raw", torch.cat([g.flatten() for g in gradients]))
    write("running.raw", torch.cat([v.flatten() for k, v in state.items() if "running" in k]))

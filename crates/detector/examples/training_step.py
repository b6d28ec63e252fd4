"""A training step of the plain U-Net, PyTorch eager and ours in turn: prints the ratios (ours / PyTorch's).

    cargo build --release -p detector --example training_step
    python training_step.py TARGET_DIR/release/examples/training_step [SIDE [STEPS [THREADS]]]
"""
import os
import pathlib
import resource
import subprocess
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "docs" / "pytorch"))
from fednodule_torch import ClassicUNet  # noqa: E402

binary = sys.argv[1]
side, steps, threads = [int(a) for a in sys.argv[2:]] + [64, 5, 2][len(sys.argv) - 2 :]
widths = (16, 32, 64, 128)
torch.set_num_threads(threads)
ours = subprocess.Popen(
    [binary, str(side), *map(str, widths)],
    env={**os.environ, "RAYON_NUM_THREADS": str(threads)},
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
)  # fmt: skip
net = ClassicUNet(widths)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
x = torch.randn(1, 1, side, side, side)
slope = torch.randn_like(x) / side**3


def our_step():
    ours.stdin.write("\n")
    return [float(v) for v in ours.stdout.readline().split()]


def their_step():
    wall, cpu = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    logits = net(x)
    ((logits[:, 1:] - logits[:, :1]) * slope).sum().backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [time.perf_counter() - wall, time.process_time() - cpu, peak]


runs = [(our_step(), their_step()) for _ in range(steps + 1)][1:]  # the first warms up
for name, i in (("wall s", 0), ("cpu s", 1)):
    a, b = [sorted(run[side][i] for run in runs) for side in (0, 1)]
    print(
        f"{side}³ {threads} threads {name:7} ours {a[0]:.3f} PyTorch {b[0]:.3f} "
        f"ratio of least {a[0] / b[0]:.2f}, of medians {a[len(a) // 2] / b[len(b) // 2]:.2f}"
    )
a, b = [max(run[side][2] for run in runs) for side in (0, 1)]
print(f"{side}³ peak MB ours {a:.0f} PyTorch {b:.0f} ratio {a / b:.2f}")

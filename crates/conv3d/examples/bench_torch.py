"""PyTorch on the layers of bench.rs, in turn with it: prints the ratios of CPU time (ours / PyTorch's, below 1 is faster).

    cargo build --release -p conv3d --example bench
    python bench_torch.py TARGET_DIR/release/examples/bench [THREADS [FILTER]]

On a busy machine use one thread: PyTorch's threads wait for each other spinning, which costs CPU time that says nothing
about its kernels. Each layer runs three times on each side, alternately, so that
other users of the machine disturb both alike.
"""
import os
import re
import subprocess
import sys
import time

import torch

binary, threads, wanted = (sys.argv[1:] + ["2", ""][len(sys.argv) - 2 :])[:3]
torch.set_num_threads(int(threads))
environment = {**os.environ, "RAYON_NUM_THREADS": threads}
LINE = re.compile(r"(\d+)>(\d+)@(\d+)k(\d)s(\d) .*?all +([\d.]+) ms .*?cpu +([\d.]+) ms")


def ours(filter):
    text = subprocess.run([binary, filter, "0.15"], env=environment, capture_output=True, text=True, check=True).stdout
    return {m[0].split()[0]: m for m in LINE.finditer(text)}


def theirs(ci, co, size, k, s):
    """Least wall time and mean CPU time of forward and both gradients, in milliseconds."""
    x = torch.randn(1, ci, size, size, size, requires_grad=True)
    w = torch.randn(co, ci, k, k, k, requires_grad=True)
    padding = 1 if k == 3 else 0
    dy = torch.randn_like(torch.nn.functional.conv3d(x, w, stride=s, padding=padding))

    def step():
        torch.autograd.grad(torch.nn.functional.conv3d(x, w, stride=s, padding=padding), (x, w), dy)

    step()
    least, calls, begin, cpu = float("inf"), 0, time.perf_counter(), time.process_time()
    while calls < 3 or time.perf_counter() - begin < 0.45:
        now = time.perf_counter()
        step()
        least, calls = min(least, time.perf_counter() - now), calls + 1
    return least * 1e3, (time.process_time() - cpu) / calls * 1e3


print(f"{'layer':18} {'ours wall':>10} {'torch wall':>10} {'ratio':>6} {'ours cpu':>10} {'torch cpu':>10} {'ratio':>6}")
for name, found in ours(wanted).items():
    shape = [int(found[i]) for i in range(1, 6)]
    wall, cpu, torch_wall, torch_cpu = float("inf"), 0.0, float("inf"), 0.0
    for _ in range(3):
        run = ours(name)[name]
        wall, cpu = min(wall, float(run[6])), cpu + float(run[7]) / 3
        least, mean = theirs(*shape)
        torch_wall, torch_cpu = min(torch_wall, least), torch_cpu + mean / 3
    print(
        f"{name:18} {wall:10.3f} {torch_wall:10.3f} {wall / torch_wall:6.2f} "
        f"{cpu:10.3f} {torch_cpu:10.3f} {cpu / torch_cpu:6.2f}",
        flush=True,
    )

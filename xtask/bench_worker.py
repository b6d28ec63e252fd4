"""The other side of `cargo xtask bench`: python bench_worker.py CONTENDER THREADS FOLDER

CONTENDER is torch or openvino. Reads a request a line and answers each with a line, a number or "-" and why there is
none: `time TASK` and `peak` as crates/detector/examples/bench_worker.rs says, and

    versions     the contender and its version, as text
    gflop TASK   operations of the convolutions of one call, torch only

torch also knows the task `sgemm@SIDE`. FOLDER keeps the models that OpenVINO reads: another process converts them, so
that this one's memory is OpenVINO's alone.
"""
import pathlib
import subprocess
import sys
import time

SHORTEST = 0.1  # short calls are repeated for so many seconds, and the fastest counts


class Unable(Exception):
    """Why there is no answer."""


def parse(task):
    """`convolution 16>32@96 forward` -> ("convolution", "16>32", 96, "forward")"""
    what, _, rest = task.partition("@")
    kind, _, subject = what.partition(" ")
    side, _, turn = rest.partition(" ")
    return kind, subject, int(side), turn


def module(task):
    """The layer or network of a task, and its input."""
    import torch

    kind, subject, side, _ = parse(task)
    torch.manual_seed(1)
    if kind == "convolution":
        i, o = (int(n) for n in subject.split(">"))
        return torch.nn.Conv3d(i, o, 3, padding=1), torch.randn(1, i, side, side, side)
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "docs" / "pytorch"))
    from fednodule_torch import WIDTHS, ClassicUNet, DetectionUNet

    # The network of the design's measurements has 1.40 million parameters.
    net = ClassicUNet((16, 32, 64, 128)) if subject == "reference" else DetectionUNet(WIDTHS[subject])
    return net, torch.randn(1, 1, side, side, side)


def torch_call(task):
    import torch
    from torch.nn import functional as F

    kind, _, side, turn = parse(task)
    if kind == "sgemm":
        a, b = torch.randn(side, side), torch.randn(side, side)
        return lambda: a @ b
    net, x = module(task)
    if kind == "inference" or turn == "forward":
        net.eval()

        def forward():
            with torch.inference_mode():
                net(x)

        return forward
    if kind == "convolution":
        x.requires_grad_()
        slope = torch.randn_like(net(x))
        return lambda: torch.autograd.grad(net(x), (x, net.weight, net.bias), slope)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    # The plainest loss of each network: the classes of the voxels, or a target for every map.
    with torch.no_grad():
        maps = net(x)
    if maps.shape[1] == 2:
        wanted, loss = torch.zeros(maps.shape[0], *maps.shape[2:], dtype=torch.long), F.cross_entropy
    else:
        wanted, loss = torch.zeros_like(maps), F.binary_cross_entropy_with_logits
    del maps

    def step():
        optimizer.zero_grad()
        loss(net(x), wanted).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return step


def gflop(task):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    kind, _, side, turn = parse(task)
    if kind == "sgemm":
        return 2e-9 * side**3
    net, x = module(task)
    net, x = net.to("meta"), x.to("meta")  # counts without computing
    with FlopCounterMode(display=False) as counter:
        if kind == "inference" or turn == "forward":
            net.eval()(x)
        else:
            # A network's input needs no gradient, a single convolution's does.
            net(x.requires_grad_(kind == "convolution")).sum().backward()
    return 1e-9 * counter.get_total_flops()


def convert(task, path):
    import openvino
    import torch

    net, x = module(task)
    with torch.no_grad():
        model = openvino.convert_model(net.eval(), example_input=x, input=list(x.shape))
    openvino.save_model(model, path, compress_to_fp16=False)


def openvino_call(task, threads, folder):
    import numpy
    import openvino

    kind, subject, _, turn = parse(task)
    if kind == "training" or turn == "gradients":
        raise Unable("OpenVINO does not train")
    path = pathlib.Path(folder) / (task.replace(" ", "-").replace(">", "-") + ".xml")
    if not path.exists():
        done = subprocess.run([sys.executable, __file__, "convert", task, path], stdin=subprocess.DEVNULL, stdout=sys.stderr)
        if done.returncode:
            raise Unable("the model could not be converted")
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    if kind == "inference" and subject != "reference":
        # Where 2026.4.1 generates code for chains of elementwise layers ("snippets"), compiling a strided convolution
        # with its group normalisation before a residual block ends in a segmentation fault.
        settings["SNIPPETS_MODE"] = "DISABLE"
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()
    x = numpy.random.default_rng(1).standard_normal(compiled.input(0).shape, numpy.float32)
    request.set_input_tensor(openvino.Tensor(x))
    return request.infer


def peak():
    for line in open("/proc/self/status") if sys.platform == "linux" else ():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise Unable("only Linux tells a process its peak")


def timed(call):
    least, begin = float("inf"), time.perf_counter()
    while least == float("inf") or time.perf_counter() - begin < SHORTEST:
        now = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - now)
    return least


def serve(contender, threads, folder):
    if contender == "torch":
        import torch as library

        library.set_num_threads(threads)
    else:
        import openvino as library

    current, call = None, None
    for line in sys.stdin:
        request, _, task = line.strip().partition(" ")
        try:
            if request == "versions":
                answer = f"{contender} {library.__version__}"
            elif request == "peak":
                answer = peak()
            elif request == "gflop":
                answer = gflop(task)
            else:
                if task != current:
                    current = call = None  # the old one's memory is given back first
                    call = torch_call(task) if contender == "torch" else openvino_call(task, threads, folder)
                    call()
                    current = task
                answer = timed(call)
        except Exception as error:
            answer = "- " + " ".join(str(error).split())
        print(answer, flush=True)


if sys.argv[1] == "convert":
    convert(*sys.argv[2:])
else:
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])

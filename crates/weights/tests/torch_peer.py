"""What PyTorch makes of a `.pth` of ours: loads it as a user would and writes the values back.

    python torch_peer.py <in.pth> <out.txt>
"""

import struct
import sys
import zipfile

import torch

source, target = sys.argv[1:]

state = torch.load(source, map_location="cpu", weights_only=True)
assert type(state).__name__ == "OrderedDict", type(state)

# Memory-mapping needs aligned entries that are stored as they are.
mapped = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
assert all(torch.equal(mapped[n].view(torch.int32), t.view(torch.int32)) for n, t in state.items())
with zipfile.ZipFile(source) as archive, open(source, "rb") as raw:
    assert archive.testzip() is None
    for info in archive.infolist():
        raw.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", raw.read(4))
        assert info.compress_type == zipfile.ZIP_STORED, info
        assert (info.header_offset + 30 + name_length + extra_length) % 64 == 0, info

# A module with just these parameters accepts them, strictly.
module = torch.nn.Module()
for name, tensor in state.items():
    owner = module
    *path, leaf = name.split(".")
    for part in path:
        if part not in owner._modules:
            owner.add_module(part, torch.nn.Module())
        owner = owner._modules[part]
    owner.register_buffer(leaf, torch.full_like(tensor, 0.5))
module.load_state_dict(state, strict=True)

with open(target, "w", encoding="utf-8") as out:
    for name, tensor in sorted(module.state_dict().items()):
        assert tensor.dtype == torch.float32 and tensor.is_contiguous()
        bits = ",".join(str(b) for b in tensor.view(torch.int32).flatten().tolist())
        out.write(f"{name} {','.join(map(str, tensor.shape))} {bits}\n")

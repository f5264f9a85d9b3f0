"""Mixed precision: bfloat16 where the device has instructions for it."""

import torch


def bfloat16_where_fast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """A context in which networks compute in bfloat16 on a GPU or a CPU with such instructions, else as they are."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and fast)

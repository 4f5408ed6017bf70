"""What a plan is made for: memory, and how fast numbers and bytes move."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..model_loaders.free_memory import free_ram, free_vram

GB = 10**9
MARGIN = 0.95  # of what is free: the rest is for fragmentation
CONTEXT = 1 * GB  # of a GPU's driver and libraries, where this process has not started it
RATES = {  # FLOP/s in bfloat16 that large products reach, by a word of the GPU's name; the first that fits
    "H200": 700e12, "H100": 650e12, "B200": 1500e12, "A100": 250e12, "L40": 180e12, "RTX PRO 6000": 400e12,
    "5090": 210e12, "4090": 160e12, "3090": 70e12, "5080": 110e12, "4080": 95e12, "5070": 60e12, "4070": 58e12,
    "4060": 30e12, "3080": 59e12, "3060": 25e12,
}  # fmt: skip
OTHER_GPU, CPU_CORE = 40e12, 40e9
LINK, DISK = 20 * GB, 3 * GB  # bytes a second: PCIe 4 as measured in practice; an NVMe disk


@dataclass(frozen=True, kw_only=True)
class Machine:
    """free_vram, free_ram: bytes; on the CPU both are the same memory. rate: FLOP/s. link, disk: bytes a second."""

    device: str
    free_vram: int
    free_ram: int
    rate: float = OTHER_GPU
    link: float = LINK
    disk: float = DISK

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"

    @property
    def vram(self) -> int:
        """Bytes of the device that a plan may use."""
        return int(MARGIN * max(0, self.free_vram - (0 if self.on_cpu else CONTEXT)))

    @property
    def ram(self) -> int:
        """Bytes of the host that a plan may use."""
        return int(MARGIN * self.free_ram)


def this_machine(device: torch.device, *, given_back: int = 0) -> Machine:
    """As it is now. given_back: bytes of the device that other networks would leave."""
    if device.type == "cuda":
        name = torch.cuda.get_device_properties(device).name
        rate = next((rate for word, rate in RATES.items() if word in name), OTHER_GPU)
        return Machine(device="cuda", free_vram=free_vram(device) + given_back, free_ram=free_ram(), rate=rate)
    memory, rate = free_ram(), CPU_CORE * torch.get_num_threads()
    return Machine(device=device.type, free_vram=memory, free_ram=memory, rate=rate, link=10 * GB)

"""GPUs by name: memory, arithmetic and bandwidth, from approximate public figures; and devices of one's own figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator (or a machine's CPUs).

    Attributes:
        memory: bytes. ``flops``: operations a second of dense matrix products in bf16 (a CPU: in its own type).
        bandwidth: bytes a second of its memory. ``network``: bytes a second between machines, for each device.
        source: where the figures come from.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    network: float = 50e9
    source: str = "given"


def _gpu(name: str, gigabytes: float, tera: float, bandwidth: float, network: float, source: str) -> Device:
    """Sizes as the data sheets have them: memory and bandwidth in 10^9 bytes, operations in 10^12 a second."""
    return Device(
        name=name,
        memory=gigabytes * 1e9,
        flops=tera * 1e12,
        bandwidth=bandwidth * 1e9,
        network=network * 1e9,
        source=f"approximate public figures of the {source}",
    )


# Approximate public figures, quoted and not looked up again; --memory-gb, --tflops and --bandwidth-gbs replace them.
# bf16 without sparsity. The network is one port of 400 Gb/s for each GPU where servers are sold so, else 100 Gb/s.
DEVICES: dict[str, Device] = {
    each.name: each
    for each in (
        _gpu("A100-40", 40, 312, 1555, 25, "A100 SXM"),
        _gpu("A100-80", 80, 312, 2039, 25, "A100 SXM"),
        _gpu("H100", 80, 989.5, 3350, 50, "H100 SXM"),
        _gpu("H200", 141, 989.5, 4800, 50, "H200 SXM"),
        _gpu("H800", 80, 989.5, 3350, 50, "H800, an H100 of slower NVLink"),
        _gpu("H20", 96, 148, 4000, 50, "H20"),
        _gpu("B200", 180, 2250, 8000, 50, "B200"),
        _gpu("L40S", 48, 362, 864, 12.5, "L40S"),
        _gpu("L4", 24, 121, 300, 12.5, "L4"),
        _gpu("RTX-4090", 24, 165.2, 1008, 12.5, "RTX 4090, bf16 with fp32 accumulation"),
        _gpu("MI300X", 192, 1307, 5300, 50, "MI300X"),
    )
}
OTHER_NAMES = {"a100": "A100-80", "h100-80": "H100", "4090": "RTX-4090", "rtx4090": "RTX-4090", "rtx 4090": "RTX-4090"}


def device(
    name: str, *, memory: float | None = None, flops: float | None = None, bandwidth: float | None = None
) -> Device:
    """A GPU of the table, with figures replaced where they are given; or, of another name, with all of them given.

    Args:
        memory, bandwidth: in bytes, and bytes a second. ``flops``: operations a second.

    Raises:
        ValueError: no such GPU, and not all figures are given; or one is not positive.
    """
    given = {"memory": memory, "flops": flops, "bandwidth": bandwidth}
    for word, value in given.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{word} of {name} must be positive and finite, not {value:g}")
    known = {each.lower(): each for each in DEVICES} | OTHER_NAMES
    found = DEVICES.get(known.get(name.lower(), ""))
    if found is not None:
        replaced = [word for word, value in given.items() if value is not None]
        more = f"; given: {', '.join(replaced)}" if replaced else ""
        return replace(
            found,
            memory=memory or found.memory,
            flops=flops or found.flops,
            bandwidth=bandwidth or found.bandwidth,
            source=found.source + more,
        )
    if memory is None or flops is None or bandwidth is None:
        missing = [word for word, value in given.items() if value is None]
        raise ValueError(
            f"no GPU {name}; there are {', '.join(DEVICES)}. Of another one give memory, peak and bandwidth "
            f"(missing: {', '.join(missing)})"
        )
    return Device(name=name, memory=memory, flops=flops, bandwidth=bandwidth)

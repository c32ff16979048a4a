"""How much memory is free: of this host, as its container sees it, and of the CUDA device."""

from __future__ import annotations

from pathlib import Path

GIB = 2**30
SHARE = 1 / 3  # of the free memory that images may take where nobody says how much
CGROUP = Path("/sys/fs/cgroup")


def allowed_bytes(memory: float | None) -> int:
    """Bytes that images may take: ``memory`` in GiB; None: a third of what is free, here and on the CUDA device."""
    if memory is not None:
        return int(memory * GIB)
    free = free_host_bytes()
    device = free_device_bytes()
    return int(SHARE * (free if device is None else min(free, device)))


def free_host_bytes(cgroup: Path = CGROUP) -> int:
    """Memory that this process could still take, files held in the cache counting as free."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used, held = (_number(cgroup, name) for name in ("memory.max", "memory.current", "inactive_file"))
    if limit is not None and used is not None:
        free = min(free, max(limit - used + (held or 0), 0))
    return free


def free_device_bytes() -> int | None:
    """Free memory of the CUDA device; None: there is none."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def _number(cgroup: Path, name: str) -> int | None:
    """A figure of the control group (version 2) that this process is in; None: there is none, or no limit."""
    try:
        if name == "inactive_file":
            lines = (cgroup / "memory.stat").read_text().splitlines()
            return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
        text = (cgroup / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None

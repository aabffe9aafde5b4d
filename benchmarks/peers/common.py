"""What both sides of a benchmark share: the networks that are compared, and the memory of a process. Needs no library."""

import resource
from pathlib import Path

# Name -> filters of the first level, pooling steps.
NETWORKS = {"small": (16, 3), "paper": (32, 4)}
CLASSES = 3


def resident() -> float:
    """Return the memory that this process holds, GB (2^30 bytes)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def peak() -> float:
    """Return the most memory that this process ever held, GB (2^30 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

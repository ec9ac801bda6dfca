"""nbd: a single-node notebook daemon for GPU workstations and edge boxes."""

__version__ = "0.1.0"

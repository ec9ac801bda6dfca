"""What is kept of a home: its format, how a snapshot is taken, how it comes back, what of it goes in time (docs/home-format.md)."""

"""What a home takes on its disk, what of it may not be needed, and how full it is."""

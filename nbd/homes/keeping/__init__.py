"""One home while somebody works in it: what changed, when it is looked at, and what is due besides."""

"""While a store is away: snapshots wait on this box, and are published when it is back (docs/decisions/0006-spool.md)."""

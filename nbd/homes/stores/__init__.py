"""Where objects lie, what a store must allow, how fast they may go there. Pure."""

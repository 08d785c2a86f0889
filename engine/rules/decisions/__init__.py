"""What happens to a pool that is asked for something: one file for each kind of command. ``decide`` asks them."""

"""The decision rules, one file for each kind of command. ``decide`` calls them."""

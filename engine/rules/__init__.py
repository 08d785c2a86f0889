"""What a pool does: a command in, events or a refusal out. Pure: no clock, no file, no await."""

"""What credit means, and how it lasts. Imports ``actors`` and nothing of the transports."""

"""HTTP: every operation of the table as an ASGI application, and a server for it in the engine's own event loop."""

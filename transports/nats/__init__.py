"""Solvent over NATS: a service that answers requests, a client with the engine's interface, a server launcher."""

"""Read checkpoints safely, recognize the network in them, and build it."""

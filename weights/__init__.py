"""A file -> a network: reading checkpoints safely, recognizing what they hold, building it."""

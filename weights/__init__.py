"""A file -> a network: reading checkpoints safely, recognising what they hold, building it."""

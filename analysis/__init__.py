"""Measuring: how near to the truth an image is."""

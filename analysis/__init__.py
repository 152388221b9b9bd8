"""Measuring: how near to the truth a picture is."""

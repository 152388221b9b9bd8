"""Examine a machine, and how well this package runs on it: the library part of `supertile doctor`."""

"""Machines that Ray joins to a cluster share one job."""

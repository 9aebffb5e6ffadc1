"""Installs, starts and measures the servers of the comparison."""

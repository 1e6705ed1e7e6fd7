"""Reads a finished run's folder and shows it: data first (`data`, `summary`), then pages made from it."""

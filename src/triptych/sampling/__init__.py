"""Sampling pictures, and the recipe that each carries."""

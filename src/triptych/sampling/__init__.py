"""Sampling pictures, and the recipe in each picture."""

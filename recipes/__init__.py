"""Recipes: how everything that ships with triptych but is not code was made."""

"""Measures how much mixes of files keep of each concept, on the embedded base."""

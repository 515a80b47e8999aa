"""Reversible changes to a base: patches, weights that move, adapters."""

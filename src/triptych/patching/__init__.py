"""Reversible changes of a base: patches, trained weights, adapters."""

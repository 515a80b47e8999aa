"""Personalisation methods, one a file: a file dropped here is a method."""

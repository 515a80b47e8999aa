"""Dilution: how much of each file a mix keeps, measured on pictures, and foretold from the files."""

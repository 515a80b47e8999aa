"""The judge of the demo base: does it draw what it is asked for?"""

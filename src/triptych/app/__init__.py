"""Use cases: train one method, sample pictures."""

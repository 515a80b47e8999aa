"""The training loop, the fixed-batch loss, and `fit`, which trains artifacts."""

"""The training loop, the fixed-batch loss, and the function that fits trials."""

"""The pictures of a concept, and the training examples from them."""

"""The pictures of a concept, and the examples that training takes from them."""

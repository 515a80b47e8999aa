"""The recipe of the demo base: from openly licensed drawings to a small Stable Diffusion that everyone can run."""

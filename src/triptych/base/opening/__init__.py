"""Opening a base: the embedded demo, a diffusers folder, a checkpoint file or a hub id."""

"""Opening a base: from a name to networks, from the embedded demo, a folder, a checkpoint file or a hub id."""

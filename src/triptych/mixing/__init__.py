"""Mixing: checkpoints, LoRAs, differences, embeddings and hypernetworks become one file, with its recipe inside."""

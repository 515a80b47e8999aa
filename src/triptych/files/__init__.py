"""Files on disk: atomic writing, hashes, and headers, read before anything is loaded and without torch."""

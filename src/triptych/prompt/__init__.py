"""What a prompt says beside its words: the files that it calls, its markup, and the words that stand for embeddings."""

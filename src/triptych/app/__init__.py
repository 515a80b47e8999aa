"""Use cases: train one method, sample pictures; a session runs them, and studies, on bases that it keeps open."""

"""Files of artifacts and bases: formats, metadata, inspection, conversion and export."""

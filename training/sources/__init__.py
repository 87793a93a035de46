"""Training sets on disk, read lazily: an index of file names in memory, pictures only when they are drawn."""

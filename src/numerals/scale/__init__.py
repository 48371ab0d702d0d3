"""Archives of pictures, sweeps and many seeds on Ray."""

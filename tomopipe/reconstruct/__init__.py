"""Maps from images by back-projection: consensus, half-maps, any group of particles."""

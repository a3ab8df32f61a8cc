"""Particle images of any box and pixel size, cut out of aligned tilt series."""

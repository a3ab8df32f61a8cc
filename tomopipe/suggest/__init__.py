"""What a data set holds and a first config for it: nothing is computed, no images are read."""

"""Speed of the neural engine: parts shared by neural_step.py and gpu.py."""

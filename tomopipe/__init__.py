"""tomopipe: heterogeneity of particles in cryo-electron tomography, as one workflow."""

__version__ = "0.1.0"

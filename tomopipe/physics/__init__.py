"""Image formation as pure functions on tensors.

Conventions, stated once (every other module uses them by name):

- Volumes are `[z, y, x]`, images `[y, x]`; the centre is voxel `n // 2`.
- The centred transform is `fftshift(fft(ifftshift(.)))`, not normalised.
- Points and vectors are (x, y, z); frequencies are in cycles per pixel unless a name says 1/Å.
- The view matrix A maps object to view: `Rotation.from_euler("ZYZ", [rot, tilt, psi]).inv()`.
- Slice theorem: the image at (kx, ky) is the volume's transform at the row `[kx, ky, 0] @ A`.
- RELION's origin is the shift that centres a particle: multiply by `exp(-2 pi i k . origin)`.
- CTF = sin(gamma), negative at low frequency for underfocus.
"""

"""What was learned: latents, clusters, volumes, convergence, junk and selections."""

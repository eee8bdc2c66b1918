"""LeRobot datasets in and out, the latent cache, batches."""

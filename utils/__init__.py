"""Ground floor: files, images, metrics, training loop and logs. Knows nothing of noise models."""

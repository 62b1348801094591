"""Noise for one's own images and for a denoiser's training."""

"""Scenes, splits, crops, patches and the demo camera. Knows nothing of networks."""

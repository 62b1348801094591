"""STUB by the lead, to be overwritten by helper 3."""
import numpy as np


def panel(rows):
    return np.concatenate([np.concatenate([tile for _, tile in row], 1) for row in rows[:1]], 0)


def magnified_noise(noise, gain):
    return np.clip(128 + gain * noise, 0, 255).astype(np.uint8)

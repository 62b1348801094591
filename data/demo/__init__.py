"""A simulated phone camera with known noise, and scenes for it."""

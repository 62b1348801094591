"""File formats of the SIDD and DND benchmarks: the noisy images they hand out, the submissions they take."""

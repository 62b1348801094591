"""Command-line options: argparse only."""

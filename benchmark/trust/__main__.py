"""Try to break the promise: nothing is lost, nothing wrong is trained on, nothing hostile runs.

python -m benchmark.trust [CAMPAIGN ...] [--share X]

Prints a line per campaign and every failure; exit code 1 if there is one. --share 0.1 takes up to half an hour on two
cores. fuzz and mutation need `pip install atheris cosmic-ray`. benchmark/results/trust.md keeps what was found.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

CAMPAIGNS = ("kill", "lost_writes", "properties", "fuzz", "attacks", "mutation", "long_run", "planted")


def main() -> int:
    """Run the campaigns and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"{', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the whole counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the campaigns work (default: a temporary folder)")
    args = parser.parse_args()
    unknown = sorted(set(args.campaigns) - set(CAMPAIGNS))
    if unknown or not 0 < args.share <= 1:
        parser.error(f"expected campaigns of {', '.join(CAMPAIGNS)}, and a share in (0, 1]")
    os.environ["OMP_NUM_THREADS"] = "1"  # tiny networks gain nothing from more
    failed = False
    for name in args.campaigns or CAMPAIGNS:
        try:
            campaign = importlib.import_module(f"benchmark.trust.{name}").campaign
        except ModuleNotFoundError as error:
            parser.error(f"{name}: {error}; pip install atheris cosmic-ray")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=args.folder, prefix=f"{name}_") as folder:
            result = campaign(Path(folder), args.share, args.seed)
        minutes = (time.monotonic() - began) / 60
        print(f"| {result.name} | {result.done} | {len(result.failures)} failures | {minutes:.1f} min |", flush=True)
        for failure in result.failures:
            print(f"failed: {result.name}: {failure}", file=sys.stderr, flush=True)
        failed |= bool(result.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Try to break the promise: nothing is lost, nothing wrong is trained on, nothing hostile runs.

python -m tests.trust [CAMPAIGN ...] [--share X]

Prints a line per campaign and every failure; exit code 1 if there is one. --share 0.1 takes up to half an hour on two
cores. fuzz needs `pip install atheris`. tests/trust/README.md keeps what was found.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

CAMPAIGNS = ("kill", "lost_writes", "properties", "fuzz", "attacks", "long_run")


def main() -> int:
    """Run the campaigns and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"{', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the whole counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the campaigns work (default: a temporary folder)")
    args = parser.parse_args()
    names = args.campaigns or CAMPAIGNS
    if not set(names) <= set(CAMPAIGNS) or not 0 < args.share <= 1:
        parser.error(f"expected campaigns of {', '.join(CAMPAIGNS)}, and a share in (0, 1]")
    if "fuzz" in names and importlib.util.find_spec("atheris") is None:
        parser.error("fuzz needs more than the tests do: pip install atheris")
    os.environ["OMP_NUM_THREADS"] = "1"  # tiny networks gain nothing from more
    failed = False
    for name in names:
        campaign = importlib.import_module(f"tests.trust.{name}").campaign
        began, before = time.monotonic(), sum(os.times()[:4])
        with tempfile.TemporaryDirectory(dir=args.folder, prefix=f"{name}_") as folder:
            result = campaign(Path(folder), args.share, args.seed)
        used = f"{time.monotonic() - began:.0f} s, {sum(os.times()[:4]) - before:.0f} s of the processors"
        print(f"| {name} | {result.done} | {len(result.failures)} failures | {used} |", flush=True)
        for failure in result.failures:
            print(f"failed: {name}: {failure}", file=sys.stderr, flush=True)
        failed |= bool(result.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

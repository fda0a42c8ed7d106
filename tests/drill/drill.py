"""The drill: trainings that are killed, damaged and left without disk, and what was lost: `drill.py FOLDER --kills N`.

Each kind of job is killed with -9 again and again, in its start, steps, saves, validations and exports, and started
again, until it has ended. Then its weights are compared with those of a run that was left alone, bit for bit where
steps have an order. A lost kill is one after which the newest checkpoint is older than before or cannot be read, a
process stays, or the end differs.
"""

import argparse
import os
import random
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(1, str(Path(__file__).parents[1] / "shared"))

from harm import damage, no_disk, two_runs
from kills import KINDS, Killer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200, help="kills in all kinds of jobs together")
    parser.add_argument("--flips", type=int, default=1500, help="damaged bytes")
    parser.add_argument("--times", type=int, default=5, help="second runs, and runs without room on the disk")
    parser.add_argument("--seed", type=int, default=4)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 (not for secrets)
    reports = []
    for number, kind in enumerate(KINDS):
        share = arguments.kills // len(KINDS) + (number < arguments.kills % len(KINDS))
        reports.append(Killer(kind, arguments.folder / kind.name, chance).run(share))
    reports.append(damage(arguments.folder / "damage", arguments.flips, chance))
    reports.append(two_runs(arguments.folder / "two runs", arguments.times))
    reports.append(no_disk(arguments.folder / "no disk", arguments.times, chance))
    print(f"{'':<20} {'done':>6}  {'lost':>4}")
    for report in reports:
        print(report.line())
        for each in report.lost:
            print(f"    lost: {each}")
    sys.exit(any(report.lost for report in reports))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Command-line entry: `python lab/run_lab.py scenarios/round_robin.yaml`. All of it lives in lab.driver.cli."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the folder of `lab`, in place of lab/ itself
    try:
        from lab.driver.cli import main

        sys.exit(main())
    except KeyboardInterrupt:  # before `main` could see to it
        sys.exit(130)

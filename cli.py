"""Run ``s2m`` from a clone, as ``python cli.py``."""

from jobs.commands import main

if __name__ == "__main__":
    main()

"""`python -m worker` is `spotcheck`."""

from worker.cli import main

if __name__ == "__main__":
    main()

"""``python -m learnguard``."""

from learnguard.cli import main

if __name__ == "__main__":
    main()

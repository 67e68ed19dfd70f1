"""``python -m modelyard``: the ``modelyard`` command."""

from modelyard.services.cli.entry import main

if __name__ == "__main__":
    main()

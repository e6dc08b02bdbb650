"""``python -m physinv`` is the ``physinv`` command."""

from physinv.cli import main

if __name__ == "__main__":
    main()

"""``python -m physinv`` is the ``physinv`` command."""

from physinv.cli.app import main

if __name__ == "__main__":
    main()

"""``python -m fedgenome.cli``: the command without its script."""

from fedgenome.cli.main import main

if __name__ == "__main__":
    main()

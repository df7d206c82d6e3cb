"""`python -m clara`: the command, for launchers that start modules (`torchrun -m clara train ...`)."""

from clara.cli import main

if __name__ == "__main__":
    main()

"""The command `chirplet`, from a clone: `python run.py [GROUP=NAME ...] [KEY=VALUE ...]`."""

from chirplet.cli.start import main

if __name__ == "__main__":
    main()

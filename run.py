"""Launch chirplet: `python run.py [GROUP=NAME ...] [KEY=VALUE ...]`; `python run.py --help` tells more."""

from chirplet.cli.main import main

if __name__ == "__main__":
    main()

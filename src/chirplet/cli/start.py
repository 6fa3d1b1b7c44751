"""The start of a command."""

from chirplet.system import garbage


def main() -> None:
    """Run the command line."""
    garbage.pause()
    from chirplet.cli.main import main as run

    run()

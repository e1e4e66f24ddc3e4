"""The command line: ``python -m xvectors <command>``."""

import argparse

from xvectors.corpora import make_manifest


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; a parsed command has its function under `run`."""
    parser = argparse.ArgumentParser(prog="python -m xvectors", description="Speaker embeddings.")
    commands = parser.add_subparsers(required=True, metavar="command")
    make_manifest.add_command(commands)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run a command."""
    parsed = command_parser().parse_args(arguments)
    parsed.run(parsed)


if __name__ == "__main__":
    main()

"""The `tidemill` command: finds the parts of the program, then hands over to `cli`."""

import sys

from tidemill.parts import parts_folder


def main() -> None:
    """Run the command line; a missing part is reported, not raised."""
    # First on the path: a folder of the same name where the user stands must not win.
    sys.path.insert(0, str(parts_folder()))
    from cli.main import app

    app()


if __name__ == "__main__":
    main()

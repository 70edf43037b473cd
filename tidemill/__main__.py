"""The `tidemill` command: finds the parts of the program, then hands over to `cli`."""

import sys
from pathlib import Path


def parts_folder() -> Path:
    """Where the parts (`cli`, `api`, `streams`, ...) lie: inside the wheel, else the checkout."""
    here = Path(__file__).resolve().parent
    shipped = here / "_parts"
    return shipped if shipped.is_dir() else here.parent


def main() -> None:
    """Run the command line; a missing part is reported, not raised."""
    # First on the path: a folder of the same name where the user stands must not win.
    sys.path.insert(0, str(parts_folder()))
    from cli.main import app

    app()


if __name__ == "__main__":
    main()

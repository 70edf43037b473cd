"""What the retrain command's exit code means to cron."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a retrain ended; each member's comment is what to do about it."""

    PUBLISHED = 0  # nothing: a new release is on its way
    FAILED = 1  # read the message; nothing was published
    USER_ERROR = 2  # mend the project file, the environment or the options
    REFUSED = 3  # nothing urgent: the gate kept the champion; its reasons are in the report
    LOCKED = 4  # nothing: another retrain of the project is running
    NOTHING_TO_TRAIN_ON = 5  # backfill, or wait for labels
    NOT_ANNOUNCED = 6  # start the broker; the release is published and workers find it at start

"""How good answers are: measures of rows, and sums that can be added up and taken apart again."""

from learners.quality.measures import accuracy, auc, calibration_error, log_loss, mae, rmse

__all__ = ["accuracy", "auc", "calibration_error", "log_loss", "mae", "rmse"]

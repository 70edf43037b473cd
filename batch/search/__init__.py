"""The search for a trainer and its settings: one Optuna study, resumed until its budget ends."""

"""Set Ray's environment variables. Ray reads some of them while it is imported, so this module must come first.

``jobs.spread`` imports it, so the variables are set before any module of that folder imports Ray. A variable that
the user has set keeps the user's value.
"""

import os

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # By default Ray Train looks for reports every 2 s, and each report waits until it looks.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Ray Data's thread can outlive an interrupted run. It would connect to any other Ray that it finds, and hang.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Nobody reads the metrics of a session that lives for one command. Ray starts a second sooner without (measured).
    "RAY_enable_metrics_collection": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Verbosity does not silence the table that the new output of Ray Tune draws.
    "RAY_AIR_NEW_OUTPUT": "0",
}

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

//! DevPulse's own logs, traces and metrics.

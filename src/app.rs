//! Wiring: settings to stages, the one match on the backend, the one shutdown.

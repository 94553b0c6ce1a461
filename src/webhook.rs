//! Calls a webhook when an alarm changes. Never blocks the pipeline.

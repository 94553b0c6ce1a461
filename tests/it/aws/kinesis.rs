//! Kinesis as it behaves: throttled, resharded, expired, refused; and what others put there.

//! Lines of every kind against the truth. Measures nothing.

//! Keeps the reference data in force and edits it. Joins nothing.

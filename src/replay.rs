//! Log files straight through the engine, in parallel. Keeps no state.

//! Folds a Gesta log into state.

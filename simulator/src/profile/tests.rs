//! Profiles that are broken, and those that are not.

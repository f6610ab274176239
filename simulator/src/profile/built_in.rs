//! The profiles that come with the crate.

use super::Profile;

/// A profile as its file.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    file: &'static str,
    text: &'static str,
}

impl BuiltIn {
    pub(super) fn profile(&self) -> Profile {
        Profile::parse(self.text, self.file).unwrap_or_else(|e| panic!("a built-in profile is broken: {e}"))
    }
}

macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(BuiltIn {
            name: $name,
            file: concat!("simulator/profiles/", $name, ".toml"),
            text: include_str!(concat!("../../profiles/", $name, ".toml")),
        },)*]
    };
}

pub(super) const PROFILES: &[BuiltIn] = built_in! {
    "oneplus-15r"
};

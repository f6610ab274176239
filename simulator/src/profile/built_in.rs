//! The profiles that come with the crate.

use super::Profile;
use crate::fit::parse_points;

/// A profile as its file, and the points that it rests on.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    file: &'static str,
    text: &'static str,
    points: Option<(&'static str, &'static str)>,
}

impl BuiltIn {
    pub(super) fn profile(&self) -> Profile {
        let mut profile =
            Profile::parse(self.text, self.file).unwrap_or_else(|e| panic!("a built-in profile is broken: {e}"));
        if let Some((file, text)) = self.points {
            profile.points = parse_points(text, file).unwrap_or_else(|e| panic!("a built-in sweep is broken: {e}"));
        }
        profile
    }
}

macro_rules! built_in {
    ($($name:literal $($with_points:ident)?;)*) => {
        &[$(BuiltIn {
            name: $name,
            file: concat!("simulator/profiles/", $name, ".toml"),
            text: include_str!(concat!("../../profiles/", $name, ".toml")),
            points: built_in!(@ $name $($with_points)?),
        },)*]
    };
    (@ $name:literal) => { None };
    (@ $name:literal with_points) => {
        Some((concat!("simulator/data/", $name, ".csv"), include_str!(concat!("../../data/", $name, ".csv"))))
    };
}

pub(super) const PROFILES: &[BuiltIn] = built_in! {
    "iphone-15-pro";
    "iphone-16-pro";
    "iphone-17-pro-256gb";
    "iphone-17-pro-512gb";
    "ipad-pro";
    "m1-max";
    "m1-ultra" with_points;
    "m2-mini-256gb";
    "m3" with_points;
    "m3-max" with_points;
    "m4-pro" with_points;
    "m4-max" with_points;
    "m5-pro";
    "m5-max" with_points;
    "oneplus-15r" with_points;
    "snapdragon-8-gen-3-ufs-4";
    "oneplus-11";
    "ufs-3-1-phone";
    "pcie-5-nvme" with_points;
    "samsung-9100-pro" with_points;
    "wd-sn8100";
    "pcie-4-nvme" with_points;
    "kingston-kc3000" with_points;
    "sata-ssd";
    "sd-card";
};

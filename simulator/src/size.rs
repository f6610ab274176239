//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, at least one: `512MiB`, `1.5G`, `700M`, `2GB`, `4096`. `K M G T` and `KiB MiB GiB TiB` are powers of
/// 1024, `KB MB GB TB` powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no size; write 512MiB, 1.5G or a number of bytes")]
pub struct NoSize(String);

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let bad = || NoSize(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let number = f64::from_str(&text[..digits]).map_err(|_| bad())?;
        let unit = text[digits..].trim().to_ascii_lowercase();
        let (base, power) = match unit.as_str() {
            "" | "b" => (1u64, 0),
            "k" | "kib" => (1024, 1),
            "m" | "mib" => (1024, 2),
            "g" | "gib" => (1024, 3),
            "t" | "tib" => (1024, 4),
            "kb" => (1000, 1),
            "mb" => (1000, 2),
            "gb" => (1000, 3),
            "tb" => (1000, 4),
            _ => return Err(bad()),
        };
        let bytes = number * base.pow(power) as f64;
        if (1.0..9e15).contains(&bytes) { Ok(Size(bytes as u64)) } else { Err(bad()) }
    }
}

/// With the largest unit that it is a whole number of.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units.into_iter().find(|(shift, _)| self.0 > 0 && self.0.trailing_zeros() >= *shift);
        match whole {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"6GiB\", or a number of bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map_err(E::custom).and_then(|bytes| self.visit_u64(bytes))
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                self.visit_str(&bytes.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("1.5g"), Ok(3 << 29));
        assert_eq!(size("2 GB"), Ok(2_000_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for bad in ["", "MiB", "-1", "1X", "0", "1e99"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for shown in ["512MiB", "3GiB", "1025", "4KiB"] {
            assert_eq!(shown.parse::<Size>().unwrap().to_string(), shown);
        }
    }
}

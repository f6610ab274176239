//! A device as plain numbers: what a simulation runs on.

use crate::flash::{FlashProfile, Heat, ThermalState};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// A profile at one edge of its bands.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// The profile's name.
    pub name: String,
    /// Its flash.
    pub flash: FlashProfile,
    /// Its memory.
    pub memory: Memory,
    /// How fast it computes.
    pub compute: Compute,
    /// What it draws.
    pub power: Power,
    /// How heat slows it down.
    pub heat: DeviceHeat,
}

/// Memory of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// What cores read from it, in bytes per second.
    pub bandwidth_bytes_s: f64,
    /// All of it, in bytes.
    pub ram_bytes: f64,
    /// What one application may use, in bytes.
    pub app_bytes: f64,
}

/// How fast a device computes, with all cores that help.
#[derive(Debug, Clone, PartialEq)]
pub struct Compute {
    /// Processor time to submit and reap one read, in seconds.
    pub request_s: f64,
    /// What a step of a model takes besides its weights and the context, in seconds: threads that meet, norms, gates.
    pub step_s: f64,
    /// What the first page behind a wait takes longer, in seconds: other threads have gone to sleep.
    pub wake_s: f64,
    /// One token at a time: bytes of weights per second.
    pub decode_bytes_s: Rates,
    /// Many tokens at once: floating-point operations per second, two for each weight and token.
    pub prefill_flop_s: Rates,
}

/// What a device draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Doing nothing with the screen on, in watts.
    pub idle_watts: f64,
    /// What computing adds, in watts.
    pub compute_watts: f64,
    /// What a byte read from flash adds, in joules.
    pub flash_joules_byte: f64,
}

/// Heat of the whole device, and what it leaves of the compute rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceHeat {
    /// Of which the shares are those of flash.
    pub heat: Heat,
    /// The share of the compute rates that is left when warm.
    pub compute_warm_share: f64,
    /// The share that is left when hot.
    pub compute_hot_share: f64,
}

impl DeviceHeat {
    /// The share of the compute rates that is left in a state.
    pub fn compute_share(&self, state: ThermalState) -> f64 {
        match state {
            ThermalState::Cold => 1.0,
            ThermalState::Warm => self.compute_warm_share,
            ThermalState::Hot => self.compute_hot_share,
        }
    }
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the documentation: those of GGUF's types")]
pub enum WeightType {
    F32,
    F16,
    Bf16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q6_k")]
    Q6K,
    #[serde(rename = "q5_k")]
    Q5K,
    #[serde(rename = "q5_0")]
    Q5_0,
    #[serde(rename = "q5_1")]
    Q5_1,
    #[serde(rename = "q4_k")]
    Q4K,
    #[serde(rename = "q4_0")]
    Q4_0,
    #[serde(rename = "q4_1")]
    Q4_1,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
    #[serde(rename = "q3_k")]
    Q3K,
    #[serde(rename = "q2_k")]
    Q2K,
}

impl WeightType {
    /// All of them, those with more bits first.
    pub const ALL: [WeightType; 16] = [
        WeightType::F32,
        WeightType::F16,
        WeightType::Bf16,
        WeightType::Q8_0,
        WeightType::Q6K,
        WeightType::Q5_1,
        WeightType::Q5K,
        WeightType::Q5_0,
        WeightType::Q4_1,
        WeightType::Q4K,
        WeightType::Q4_0,
        WeightType::Iq4Nl,
        WeightType::Iq4Xs,
        WeightType::Mxfp4,
        WeightType::Q3K,
        WeightType::Q2K,
    ];

    /// Bits per weight, scales included.
    pub fn bits(self) -> f64 {
        match self {
            WeightType::F32 => 32.0,
            WeightType::F16 | WeightType::Bf16 => 16.0,
            WeightType::Q8_0 => 8.5,
            WeightType::Q6K => 6.5625,
            WeightType::Q5_1 => 6.0,
            WeightType::Q5K | WeightType::Q5_0 => 5.5,
            WeightType::Q4_1 => 5.0,
            WeightType::Q4K | WeightType::Q4_0 | WeightType::Iq4Nl => 4.5,
            WeightType::Iq4Xs | WeightType::Mxfp4 => 4.25,
            WeightType::Q3K => 3.4375,
            WeightType::Q2K => 2.625,
        }
    }

    /// As in profiles and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            WeightType::F32 => "f32",
            WeightType::F16 => "f16",
            WeightType::Bf16 => "bf16",
            WeightType::Q8_0 => "q8_0",
            WeightType::Q6K => "q6_k",
            WeightType::Q5_1 => "q5_1",
            WeightType::Q5K => "q5_k",
            WeightType::Q5_0 => "q5_0",
            WeightType::Q4_1 => "q4_1",
            WeightType::Q4K => "q4_k",
            WeightType::Q4_0 => "q4_0",
            WeightType::Iq4Nl => "iq4_nl",
            WeightType::Iq4Xs => "iq4_xs",
            WeightType::Mxfp4 => "mxfp4",
            WeightType::Q3K => "q3_k",
            WeightType::Q2K => "q2_k",
        }
    }

    /// The type of that name.
    pub fn named(name: &str) -> Option<WeightType> {
        WeightType::ALL.into_iter().find(|t| t.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A rate for every weight type. A type that a profile does not state has the rate of the stated one whose bits per
/// weight are nearest as a ratio; of two as near, the one with more bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    stated: BTreeMap<WeightType, f64>,
}

impl Rates {
    /// Rates of the types that are stated.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(stated: BTreeMap<WeightType, f64>) -> Rates {
        assert!(!stated.is_empty(), "rates of no type at all");
        Rates { stated }
    }

    /// The rate of a type.
    pub fn of(&self, wanted: WeightType) -> f64 {
        match self.stated.get(&wanted) {
            Some(rate) => *rate,
            None => self.stated[&self.stands_for(wanted)],
        }
    }

    /// The stated type whose rate `wanted` has.
    pub fn stands_for(&self, wanted: WeightType) -> WeightType {
        let ratio = |t: WeightType| (t.bits() / wanted.bits()).max(wanted.bits() / t.bits());
        let near = |a: &WeightType, b: &WeightType| {
            ratio(*a).total_cmp(&ratio(*b)).then(b.bits().total_cmp(&a.bits())).then(a.cmp(b))
        };
        if self.stated.contains_key(&wanted) {
            return wanted;
        }
        self.stated.keys().copied().min_by(near).unwrap_or(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_stated_has_the_rate_of_the_nearest() {
        let rates = Rates::new(BTreeMap::from([
            (WeightType::F16, 16.0),
            (WeightType::Q8_0, 8.0),
            (WeightType::Q4K, 4.0),
            (WeightType::Q2K, 2.0),
        ]));
        for (wanted, rate) in [
            (WeightType::F32, 16.0),
            (WeightType::Bf16, 16.0),
            (WeightType::Q6K, 8.0),
            (WeightType::Q5K, 4.0),
            (WeightType::Mxfp4, 4.0),
            (WeightType::Q3K, 4.0),
            (WeightType::Q2K, 2.0),
        ] {
            assert_eq!(rates.of(wanted), rate, "{wanted}");
        }
    }

    #[test]
    fn names_and_bits_are_in_order() {
        assert!(WeightType::ALL.windows(2).all(|w| w[0].bits() >= w[1].bits()));
        assert!(WeightType::ALL.iter().all(|t| WeightType::named(&t.name().to_uppercase()) == Some(*t)));
        assert_eq!(WeightType::named("q9_k"), None);
    }
}

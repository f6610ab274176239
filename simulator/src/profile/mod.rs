//! What is known of devices: figures with bands, grades and sources, as data files.
//!
//! A [`Profile`] is read from TOML and says of each figure who says so. [`Profile::at`] makes plain numbers of it: the
//! values, or of every figure the worse or the better edge. So a simulation gives a range, not a point.

mod built_in;
mod device;
mod error;
mod fields;
mod figure;
#[cfg(test)]
mod tests;
mod write;

pub use device::{Compute, Device, DeviceHeat, Memory, Power, Rates, WeightType};
pub use error::ProfileError;
pub use fields::{ComputeFigures, Field, FitFigures, FlashFigures, HeatFigures, MemoryFigures, PowerFigures};
pub use figure::{Domain, Edge, Figure, Grade, Sense};

use crate::fit::Point;
use crate::flash::{Background, Correction, FlashProfile, Heat, MapCache, Tail, Tier, UsefulDepth};
use serde::Deserialize;
use toml::Spanned;

/// A device and what is known of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short, for command lines.
    pub name: String,
    /// In words, for tables.
    pub title: String,
    /// What a reader should know before believing it.
    #[serde(default)]
    pub notes: String,
    /// Flash and its controller.
    pub flash: FlashFigures,
    /// The same device with other capacities.
    #[serde(default, rename = "tier")]
    pub tiers: Vec<TierFigures>,
    /// Memory.
    pub memory: MemoryFigures,
    /// Compute rates.
    pub compute: ComputeFigures,
    /// Power.
    pub power: PowerFigures,
    /// Heat.
    pub heat: HeatFigures,
    /// What the figures of flash do not say of a device that was measured here.
    #[serde(default)]
    pub correction: Correction,
    /// How the figures of flash were fitted; `None` where they were not, or where there is nothing to compare with.
    pub fit: Option<FitFigures>,
    /// What was measured of this device.
    #[serde(skip)]
    pub points: Vec<Point>,
}

/// A capacity whose rate differs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierFigures {
    /// From this capacity on, in GB (1e9 bytes).
    pub capacity_gb: Spanned<u32>,
    /// Link and stream as a multiple of the profile's.
    pub rate_times: Figure,
}

impl Profile {
    /// Reads a profile; `file` is only what errors call it.
    pub fn parse(text: &str, file: &str) -> Result<Profile, ProfileError> {
        let profile: Profile = toml::from_str(text).map_err(|e| broken(&e, text, file))?;
        profile.check().map_err(|(field, span, what)| ProfileError::at(file, text, span, Some(field), what))?;
        Ok(profile)
    }

    /// The built-in profile of that name.
    pub fn named(name: &str) -> Option<Profile> {
        built_in::PROFILES.iter().find(|b| b.name == name).map(built_in::BuiltIn::profile)
    }

    /// All built-in profiles, in the order of the list in the documentation: phones, tablets, computers, cards.
    pub fn all() -> Vec<Profile> {
        built_in::PROFILES.iter().map(built_in::BuiltIn::profile).collect()
    }

    /// The names of all built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        built_in::PROFILES.iter().map(|b| b.name)
    }

    /// All figures with their names.
    pub fn fields(&self) -> Vec<Field<'_>> {
        let mut fields = Vec::new();
        self.flash.fields(&mut fields);
        for tier in &self.tiers {
            let name = format!("tier.{}.rate_times", tier.capacity_gb.get_ref());
            fields.push(Field { name, figure: &tier.rate_times, sense: Sense::Gain, domain: Domain::Positive });
        }
        self.memory.fields(&mut fields);
        self.compute.fields(&mut fields);
        self.power.fields(&mut fields);
        self.heat.fields(&mut fields);
        fields
    }

    /// Plain numbers, in SI units, at one edge of all bands.
    pub fn at(&self, edge: Edge) -> Device {
        let (flash, heat) = (self.flash_at(edge), self.heat.at(edge));
        let (memory, power) = (self.memory.at(edge), self.power.at(edge));
        let gib = (1u64 << 30) as f64;
        let rates = |figures: &std::collections::BTreeMap<WeightType, Figure>| {
            Rates::new(figures.iter().map(|(t, f)| (*t, f.at(Sense::Gain, edge) * 1e9)).collect())
        };
        Device {
            name: self.name.clone(),
            memory: Memory {
                bandwidth_bytes_s: memory.bandwidth_gb_s * 1e9,
                ram_bytes: memory.ram_gib * gib,
                app_bytes: memory.app_gib * gib,
            },
            compute: Compute {
                request_s: self.compute.request_us.at(Sense::Cost, edge) / 1e6,
                step_s: self.compute.step_us.at(Sense::Cost, edge) / 1e6,
                wake_s: self.compute.wake_us.as_ref().map_or(0.0, |figure| figure.at(Sense::Cost, edge) / 1e6),
                decode_bytes_s: rates(&self.compute.decode_gb_s),
                prefill_flop_s: rates(&self.compute.prefill_gflop_s),
            },
            power: Power {
                idle_watts: power.idle_w,
                compute_watts: power.compute_w,
                flash_joules_byte: flash.joules_byte,
            },
            heat: DeviceHeat {
                heat: flash.heat,
                compute_warm_share: heat.compute_warm_share,
                compute_hot_share: heat.compute_hot_share,
            },
            flash,
        }
    }

    fn flash_at(&self, edge: Edge) -> FlashProfile {
        let (flash, heat) = (self.flash.at(edge), self.heat.at(edge));
        let tier = |t: &TierFigures| Tier {
            capacity_gb: *t.capacity_gb.get_ref(),
            rate_times: t.rate_times.at(Sense::Gain, edge),
        };
        FlashProfile {
            link_bytes_s: flash.link_mb_s * 1e6,
            stream_bytes_s: flash.stream_mb_s * 1e6,
            latency_s: flash.latency_us / 1e6,
            commands_s: flash.commands_s,
            transfer_bytes: (flash.transfer_kib * 1024.0) as u64,
            turnaround_s: flash.turnaround_us / 1e6,
            units: flash.units as u32,
            sense_s: flash.sense_us.min(flash.latency_us) / 1e6,
            sense_bytes: flash.sense_kib * 1024.0,
            jitter: flash.jitter,
            tail: Tail { share: flash.tail_share, times: flash.tail_times },
            depth: UsefulDepth { requests: flash.useful_depth, sag: flash.sag, floor: flash.sag_floor },
            correction: self.correction.clone(),
            map: MapCache { bytes: flash.map_mib * (1u64 << 20) as f64, miss_times: flash.map_miss_times },
            small_core_share: flash.small_core_share,
            heat: Heat {
                ambient_c: heat.ambient_c,
                kelvin_watt: heat.kelvin_watt,
                joules_kelvin: heat.joules_kelvin,
                warm_c: heat.warm_c,
                hot_c: heat.hot_c,
                recovery_k: heat.recovery_k,
                warm_share: flash.warm_share,
                hot_share: flash.hot_share,
            },
            background: Background {
                share: flash.background_share,
                burst_share: flash.background_burst_share,
                burst_s: flash.background_burst_ms / 1e3,
            },
            tiers: self.tiers.iter().map(tier).collect(),
            joules_byte: flash.joules_gb / 1e9,
        }
    }

    /// What no single figure can tell: the field, its place and what is wrong.
    fn check(&self) -> Result<(), (String, std::ops::Range<usize>, String)> {
        for field in self.fields() {
            field.figure.check(field.domain).map_err(|what| (field.name.clone(), field.figure.span.clone(), what))?;
        }
        let (flash, heat) = (&self.flash, &self.heat);
        let wrong = |name: &str, figure: &Figure, what: &str| Err((name.into(), figure.span.clone(), what.into()));
        if flash.transfer_kib.low < 4.0 || flash.units.low < 1.0 || flash.units.high > 65536.0 {
            return wrong(
                "flash.transfer_kib",
                &flash.transfer_kib,
                "transfers have 4 KiB or more, units are 1 to 65536",
            );
        }
        if flash.tail_share.high * flash.tail_times.high >= 1.0 {
            return wrong(
                "flash.tail_times",
                &flash.tail_times,
                "tail_share * tail_times must be below 1, at the upper edges too",
            );
        }
        if flash.background_share.high > flash.background_burst_share.low {
            return wrong(
                "flash.background_share",
                &flash.background_share,
                "must not be above background_burst_share",
            );
        }
        if flash.hot_share.low > flash.warm_share.low || flash.hot_share.high > flash.warm_share.high {
            return wrong("flash.hot_share", &flash.hot_share, "must not be above warm_share");
        }
        if heat.ambient_c.high >= heat.warm_c.low || heat.warm_c.high >= heat.hot_c.low {
            return wrong("heat.warm_c", &heat.warm_c, "must be above ambient_c and below hot_c, at all edges");
        }
        if let Some((parameter, start)) =
            self.fit.iter().flat_map(|f| &f.start).find(|(_, x)| !(x.is_finite() && **x > 0.0))
        {
            let what = format!("{start} must be above 0");
            return Err((format!("fit.start.{}", parameter.name()), flash.link_mb_s.span.clone(), what));
        }
        for (name, rates) in
            [("decode_gb_s", &self.compute.decode_gb_s), ("prefill_gflop_s", &self.compute.prefill_gflop_s)]
        {
            if rates.is_empty() {
                return wrong(&format!("compute.{name}"), &self.compute.request_us, "states no weight type");
            }
        }
        Ok(())
    }
}

/// The error of the TOML reader, with the field that its place is in.
fn broken(error: &toml::de::Error, text: &str, file: &str) -> ProfileError {
    let span = error.span().unwrap_or(0..0);
    let field = field_at(text, span.start);
    ProfileError::at(file, text, span, field, error.message().into())
}

/// The key of the line in which the byte `at` stands, behind the tables that it is in.
fn field_at(text: &str, at: usize) -> Option<String> {
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    let mut lines = text[..end].lines().rev().map(str::trim);
    let line = lines.next()?;
    let table = |line: &str| Some(line.strip_prefix('[')?.trim_matches(['[', ']']).to_owned());
    if let Some(table) = table(line) {
        return Some(table);
    }
    let key = line.split_once('=').map(|(key, _)| key.trim().to_owned()).filter(|key| !key.is_empty());
    match (lines.find_map(table), key) {
        (Some(table), Some(key)) => Some(format!("{table}.{key}")),
        (table, key) => key.or(table),
    }
}

//! The figures of a profile, by name: with what sense, in which domain.

use super::device::WeightType;
use super::figure::{Domain, Figure, Sense};
use crate::fit::Parameter;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One figure and what is known of its field.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    /// With the tables that it is in, as `flash.link_mb_s`.
    pub name: String,
    /// The figure.
    pub figure: &'a Figure,
    /// Whether more is better.
    pub sense: Sense,
    /// Which numbers make sense.
    pub domain: Domain,
}

/// A table whose entries are all figures.
macro_rules! figures {
    ($(#[$doc:meta])* $table:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $sense:ident $domain:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: Figure,)* }

        impl $name {
            pub(super) fn fields<'a>(&'a self, into: &mut Vec<Field<'a>>) {
                $(into.push(Field {
                    name: concat!($table, ".", stringify!($field)).into(),
                    figure: &self.$field,
                    sense: Sense::$sense,
                    domain: Domain::$domain,
                });)*
            }

            /// All numbers at an edge, each as it is written.
            pub(super) fn at(&self, edge: super::Edge) -> numbers::$name {
                numbers::$name { $($field: self.$field.at(Sense::$sense, edge),)* }
            }
        }
    };
}

/// The same tables with numbers instead of figures.
macro_rules! numbers {
    ($($name:ident { $($field:ident)* })*) => {
        pub(super) mod numbers {
            $(pub(in crate::profile) struct $name { $(pub(in crate::profile) $field: f64,)* })*
        }
    };
}

figures! {
    /// Flash and its controller. [`FlashProfile`](crate::flash::FlashProfile) says what each means.
    "flash" FlashFigures {
        /// In MB/s (1e6 bytes).
        link_mb_s: Gain Positive,
        /// In MB/s.
        stream_mb_s: Gain Positive,
        /// In microseconds.
        latency_us: Cost Positive,
        /// Per second.
        commands_s: Gain Positive,
        /// In KiB.
        transfer_kib: Gain Positive,
        /// In microseconds.
        turnaround_us: Cost NotNegative,
        /// How many.
        units: Gain Positive,
        /// In microseconds.
        sense_us: Cost NotNegative,
        /// In KiB.
        sense_kib: Gain Positive,
        /// From 0 to 1.
        jitter: Cost Fraction,
        /// Of all reads.
        tail_share: Cost Fraction,
        /// As a multiple of the mean latency.
        tail_times: Cost Times,
        /// Requests in flight.
        useful_depth: Gain Positive,
        /// Per request beyond it.
        sag: Cost NotNegative,
        /// Of the full rate.
        sag_floor: Gain Share,
        /// In MiB.
        map_mib: Gain Positive,
        /// As a multiple of a command's time.
        map_miss_times: Cost Times,
        /// Of the commands per second.
        small_core_share: Gain Share,
        /// Of the link, on the mean.
        background_share: Cost Fraction,
        /// Of the link, in a burst.
        background_burst_share: Cost Fraction,
        /// In milliseconds.
        background_burst_ms: Cost Positive,
        /// Of link and streams, when warm.
        warm_share: Gain Share,
        /// Of link and streams, when hot.
        hot_share: Gain Share,
        /// In joules per GB (1e9 bytes).
        joules_gb: Cost NotNegative,
    }
}

figures! {
    /// Memory.
    "memory" MemoryFigures {
        /// In GB/s (1e9 bytes).
        bandwidth_gb_s: Gain Positive,
        /// In GiB.
        ram_gib: Gain Positive,
        /// In GiB.
        app_gib: Gain Positive,
    }
}

figures! {
    /// Power.
    "power" PowerFigures {
        /// In watts.
        idle_w: Cost NotNegative,
        /// In watts, added by computing.
        compute_w: Cost NotNegative,
    }
}

figures! {
    /// Heat.
    "heat" HeatFigures {
        /// In degrees Celsius.
        ambient_c: Cost Positive,
        /// Degrees per watt.
        kelvin_watt: Cost Positive,
        /// Joules per degree.
        joules_kelvin: Gain Positive,
        /// In degrees Celsius.
        warm_c: Gain Positive,
        /// In degrees Celsius.
        hot_c: Gain Positive,
        /// In degrees.
        recovery_k: Cost Positive,
        /// Of the compute rates, when warm.
        compute_warm_share: Gain Share,
        /// Of the compute rates, when hot.
        compute_hot_share: Gain Share,
    }
}

numbers! {
    FlashFigures {
        link_mb_s stream_mb_s latency_us commands_s transfer_kib turnaround_us units sense_us sense_kib jitter tail_share tail_times
        useful_depth sag sag_floor map_mib map_miss_times small_core_share background_share background_burst_share
        background_burst_ms warm_share hot_share joules_gb
    }
    MemoryFigures { bandwidth_gb_s ram_gib app_gib }
    PowerFigures { idle_w compute_w }
    HeatFigures {
        ambient_c kelvin_watt joules_kelvin warm_c hot_c recovery_k compute_warm_share compute_hot_share
    }
}

/// Compute rates.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeFigures {
    /// Processor time per read, in microseconds.
    pub request_us: Figure,
    /// What a step of a model takes besides its weights and the context, in microseconds.
    pub step_us: Figure,
    /// What the first page behind a wait takes longer, in microseconds: other threads have gone to sleep. Nothing where it is not
    /// stated.
    pub wake_us: Option<Figure>,
    /// One token at a time, in GB/s of weights (1e9 bytes).
    pub decode_gb_s: BTreeMap<WeightType, Figure>,
    /// Many tokens at once, in GFLOP/s.
    pub prefill_gflop_s: BTreeMap<WeightType, Figure>,
}

impl ComputeFigures {
    pub(super) fn fields<'a>(&'a self, into: &mut Vec<Field<'a>>) {
        let field = |name, figure, sense| Field { name, figure, sense, domain: Domain::Positive };
        into.push(field("compute.request_us".into(), &self.request_us, Sense::Cost));
        into.push(field("compute.step_us".into(), &self.step_us, Sense::Cost));
        into.extend(self.wake_us.iter().map(|figure| field("compute.wake_us".into(), figure, Sense::Cost)));
        for (table, rates) in [("decode_gb_s", &self.decode_gb_s), ("prefill_gflop_s", &self.prefill_gflop_s)] {
            into.extend(rates.iter().map(|(t, figure)| field(format!("compute.{table}.{t}"), figure, Sense::Gain)));
        }
    }
}

/// How the figures of flash came from a sweep, and how well they meet it. Errors are of the simulated throughput relative
/// to the measured one: 0.03 is 3 %.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitFigures {
    /// The mean of the errors' sizes over all points.
    pub mean_error: f64,
    /// The largest.
    pub max_error: f64,
    /// The mean where each block size (or depth) is left out in turn and told from the others.
    pub held_out_mean_error: Option<f64>,
    /// The largest of those.
    pub held_out_max_error: Option<f64>,
    /// What was assumed before, of each figure that was fitted, in the units of the table `flash`.
    #[serde(default)]
    pub start: BTreeMap<Parameter, f64>,
}

//! Real runs on this machine's flash, or on that of a device that is not there: at its pace in real time, or in virtual time.

use forebay_infer::model::Engine;
use forebay_infer::open::{Loaded, OpenError, Options, divide, open_engine_on};
use forebay_infer::{budget::Budget, model::weights::segments};
use forebay_pager::{AnyStorage, Choice, Clock, Done, Nanos, Read, Storage, SystemClock, Wait, Work};
use forebay_prefetch::Layout;
use forebay_simulator::VirtualClock;
use forebay_simulator::flash::{Flash, FlashOptions};
use forebay_simulator::profile::Device;
use forebay_simulator::run::{costs, request};
use forebay_simulator::storage::{Bytes, DeviceStorage, RealPace, VirtualPace};

use crate::simulate::{SimulateError, workload};

/// Whose flash a run is on.
#[derive(Debug, Clone, Default)]
pub enum On {
    /// This machine's.
    #[default]
    This,
    /// A device's: what is read comes when that device would have brought it. Compute is this machine's.
    Paced(Box<Device>),
    /// A device's, and its compute, in virtual time: every result is real, and so is no time.
    Virtual(Box<Device>),
}

/// An engine on any of them.
pub type AnyEngine = Engine<AnyFlash, AnyClock>;

/// The flash of a run.
#[derive(Debug)]
#[allow(missing_docs)] // As of `On`.
#[allow(clippy::large_enum_variant)] // There is one of it.
pub enum AnyFlash {
    This(AnyStorage),
    Paced(DeviceStorage<Bytes<AnyStorage>, RealPace>),
    Virtual(DeviceStorage<Bytes<AnyStorage>, VirtualPace>),
}

/// The clock of a run.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // As of `On`.
pub enum AnyClock {
    Real(SystemClock),
    Virtual(VirtualClock),
}

/// Why there is no such engine.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device cannot be simulated.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
}

/// As [`open_engine`](forebay_infer::open::open_engine), on any flash.
///
/// # Errors
/// When the model cannot be opened, or the device has no figures for its weights.
pub fn open(loaded: &Loaded, options: &Options, on: &On) -> Result<(AnyEngine, Budget, Choice), DeviceError> {
    let (gguf, map, real) = (&loaded.gguf, &loaded.map, SystemClock::new());
    let (dense, experts) = map.dense_and_expert_bytes();
    let options_of_flash = FlashOptions { range_bytes: Some(dense + experts), ..FlashOptions::default() };
    let flash = |device: &Device| Flash::new(&device.flash, options_of_flash.clone());
    let opened = match on {
        On::This => open_engine_on(gguf, map, options, AnyFlash::This, AnyClock::Real(real)),
        On::Paced(device) => {
            let wrap = |own: AnyStorage| {
                let pace = RealPace(real);
                let depth = own.depth();
                AnyFlash::Paced(DeviceStorage::new(
                    flash(device),
                    pace,
                    Bytes::new(own),
                    depth,
                    Nanos::ZERO,
                    &device.name,
                ))
            };
            open_engine_on(gguf, map, options, wrap, AnyClock::Real(real))
        }
        On::Virtual(device) => {
            let frame_len = divide(map, options).map_err(OpenError::from)?.frame_len;
            let layout = Layout::cut(&segments(map), frame_len).map_err(OpenError::from)?;
            let work = workload(map, options.kv)?;
            let clock = VirtualClock::new(costs(&work, &layout, device));
            let wrap = |own: AnyStorage| {
                let pace = VirtualPace(clock.clone());
                let depth = own.depth();
                let request = request(device);
                AnyFlash::Virtual(DeviceStorage::new(
                    flash(device),
                    pace,
                    Bytes::new(own),
                    depth,
                    request,
                    &device.name,
                ))
            };
            open_engine_on(gguf, map, options, wrap, AnyClock::Virtual(clock.clone()))
        }
    };
    let (engine, budget, mut choice) = opened?;
    choice.how = engine.weights().scheduler().pager().storage().describe();
    Ok((engine, budget, choice))
}

macro_rules! each {
    ($self:ident, $s:ident => $e:expr) => {
        match $self {
            AnyFlash::This($s) => $e,
            AnyFlash::Paced($s) => $e,
            AnyFlash::Virtual($s) => $e,
        }
    };
}

impl Storage for AnyFlash {
    fn depth(&self) -> usize {
        each!(self, s => s.depth())
    }
    fn alignment(&self) -> usize {
        each!(self, s => s.alignment())
    }
    fn submit(&mut self, read: Read) {
        each!(self, s => s.submit(read));
    }
    fn flush(&mut self) {
        each!(self, s => s.flush());
    }
    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        each!(self, s => s.reap(wait, done));
    }
    fn in_flight(&self) -> usize {
        each!(self, s => s.in_flight())
    }
    fn describe(&self) -> String {
        each!(self, s => s.describe())
    }
}

impl Clock for AnyClock {
    fn now(&self) -> Nanos {
        match self {
            AnyClock::Real(clock) => clock.now(),
            AnyClock::Virtual(clock) => clock.now(),
        }
    }

    fn spend(&self, work: Work) {
        match self {
            AnyClock::Real(_) => {}
            AnyClock::Virtual(clock) => clock.spend(work),
        }
    }
}

//! The flash: reads of many sizes at many depths.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_pager::{Nanos, Pattern, Probe, SystemClock, measure_read_rate};
use forebay_simulator::fit::Point;
use forebay_simulator::flash::ThermalState;
use tempfile::NamedTempFile;

use super::{MachineError, Options};
use crate::measure::median;

/// Bytes of each read.
const SIZES: [u32; 8] = [4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20];
/// Reads in flight.
const DEPTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// The same of reads that come one behind the other: enough to say whether the flash cares.
const SEQUENTIAL_SIZES: [u32; 3] = [64 << 10, 256 << 10, 1 << 20];
const SEQUENTIAL_DEPTHS: [usize; 3] = [1, 2, 8];
/// Bytes of a file that is made to be read.
const MADE: u64 = 1 << 30;
/// The least that a file must have.
const LEAST: u64 = 64 << 20;
/// What a point reads at most, and for how long. Some flash comes in bursts (throttles, caches that are filled behind one's back): a
/// point has to see several.
const BYTES: u64 = 2 << 30;
const TIME: Nanos = Nanos(600_000_000);
/// Bytes that are read before each point, without measuring.
const RUN_IN: u64 = 160 << 20;

/// What is read.
pub(super) struct Target {
    path: PathBuf,
    /// Removes the file that was made.
    _made: Option<NamedTempFile>,
}

impl Target {
    /// The file at `path`, or one that is made in the folder `path`.
    pub(super) fn new(path: &Path, mut progress: impl FnMut(f64)) -> Result<Self, MachineError> {
        let at = |source| MachineError::File { path: path.to_owned(), source };
        let meta = std::fs::metadata(path).map_err(at)?;
        if !meta.is_dir() {
            if meta.len() < LEAST {
                return Err(MachineError::TooShort { path: path.to_owned(), bytes: meta.len(), least: LEAST });
            }
            return Ok(Target { path: path.to_owned(), _made: None });
        }
        let mut made = tempfile::Builder::new().prefix("forebay-probe-").tempfile_in(path).map_err(at)?;
        write(made.as_file_mut(), |done| progress(done as f64 / MADE as f64)).map_err(at)?;
        Ok(Target { path: made.path().to_owned(), _made: Some(made) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Bytes that no controller can compress, and that are on flash when this returns.
fn write(file: &mut File, mut progress: impl FnMut(u64)) -> std::io::Result<()> {
    let mut piece = vec![0u8; 8 << 20];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for done in (0..MADE).step_by(piece.len()) {
        for word in piece.chunks_exact_mut(8) {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece)?;
        progress(done);
    }
    file.sync_all()
}

/// What is measured, in this order.
fn grid() -> Vec<(Pattern, u32, usize)> {
    let of = |pattern, sizes: &[u32], depths: &[usize]| {
        let at = |&size: &u32| depths.iter().map(move |&depth| (pattern, size, depth));
        sizes.iter().flat_map(at).collect::<Vec<_>>()
    };
    let mut grid = of(Pattern::Random, &SIZES, &DEPTHS);
    grid.extend(of(Pattern::Sequential, &SEQUENTIAL_SIZES, &SEQUENTIAL_DEPTHS));
    grid
}

/// Every size at every depth, round after round; the medians.
pub(super) fn sweep(path: &Path, options: &Options, mut progress: impl FnMut(f64)) -> Result<Vec<Point>, MachineError> {
    let grid = grid();
    let mut rates = vec![Vec::new(); grid.len()];
    let clock = SystemClock::new();
    let _awake = Awake::new(options.threads.get() - 1);
    for round in 0..options.rounds {
        for (i, &(pattern, size, depth)) in grid.iter().enumerate() {
            let backend = options.backend;
            let used = true; // As in a run.
            let probe =
                Probe { pattern, read_len: size, depth, used, backend, bytes: BYTES, run_in: RUN_IN, at_most: TIME };
            rates[i].push(measure_read_rate(&[path.to_owned()], &probe, &clock)?.bytes_per_s);
            progress((round as f64 + i as f64 / grid.len() as f64) / f64::from(options.rounds));
        }
    }
    let point = |(&(pattern, block_bytes, depth), rates): (&(Pattern, u32, usize), Vec<f64>)| Point {
        block_bytes,
        depth,
        mb_s: median(rates) / 1e6,
        state: ThermalState::Cold,
        pattern,
        source: "forebay probe".to_owned(),
    };
    Ok(grid.iter().zip(rates).map(point).collect())
}

/// Keeps the other cores awake, as the threads of a run do: a core that sleeps is late to hear of a read that has ended, and on
/// some machines takes the others with it.
struct Awake {
    over: Arc<AtomicBool>,
}

impl Awake {
    #[expect(clippy::disallowed_methods, reason = "these threads stand for the kernel pool's")]
    fn new(threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Awake { over }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

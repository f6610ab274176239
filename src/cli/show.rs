//! What the commands print alike.
#![allow(clippy::print_stdout)] // Printing results is the command line's purpose.

use std::io::{self, Write as _};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Failure;

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    match bytes as f64 {
        b if b >= 1024.0 * MIB => format!("{:.2} GiB", b / (1024.0 * MIB)),
        b if b >= MIB => format!("{:.1} MiB", b / MIB),
        b => format!("{:.1} KiB", b / 1024.0),
    }
}

/// One JSON document on standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Other(e.to_string()))?;
    line(&text)
}

/// A line on standard output. A reader that went away is no error: it has what it wanted.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    out(&format!("{text}\n"))
}

/// Text on standard output, at once.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(source) => Err(Failure::Io { what: "standard output".into(), source }),
        Ok(()) => Ok(()),
    }
}

/// A bar on standard error that counts bytes; nothing where that is no terminal.
pub(crate) fn byte_bar(what: &str, total: u64) -> ProgressBar {
    bar(what, total, "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
}

/// A bar on standard error that counts something else.
pub(crate) fn count_bar(what: &str, total: u64) -> ProgressBar {
    bar(what, total, "{msg} [{bar:30}] {pos}/{len} {per_sec} {eta}")
}

/// Something is going on, and nobody can say how long.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(std::time::Duration::from_millis(200));
    spinner
}

fn bar(what: &str, total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates are ours").progress_chars("=> ");
    ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}

//! What the commands print alike.
#![allow(clippy::print_stdout)] // Printing results is the command line's purpose.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
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

/// A bar on standard error that counts the tokens of a prompt, of which `known` were there when it began.
pub(crate) fn prompt_bar(known: u64, total: u64) -> ProgressBar {
    let bar = bar("prompt", total, "{msg} [{bar:30}] {pos}/{len} {pace}");
    let pace = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A terminal that takes no text is not worth a word.
        let _ =
            out.write_str(&pace(state.pos().saturating_sub(known), total - state.pos().min(total), state.elapsed()));
    };
    bar.set_style(bar.style().with_key("pace", pace));
    bar
}

/// The rate of what was `done` in `elapsed`, and the time for what is `left`.
fn pace(done: u64, left: u64, elapsed: Duration) -> String {
    if done == 0 {
        return String::new();
    }
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let left = Duration::from_secs_f64((left as f64 / rate).min(1e9));
    format!("{rate:.1} tokens/s, {:#} left", HumanDuration(left))
}

/// Something is going on, and nobody can say how long.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

fn bar(what: &str, total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates are ours").progress_chars("=> ");
    ProgressBar::new(total).with_style(style).with_message(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_counts_what_was_done_here() {
        assert_eq!(pace(0, 100, Duration::from_secs(3)), "");
        assert_eq!(pace(64, 128, Duration::from_secs(4)), "16.0 tokens/s, 8s left");
        assert_eq!(pace(1, 1000, Duration::from_secs(2)), "0.5 tokens/s, 33m left");
        assert_eq!(pace(5, 0, Duration::ZERO), "5000000000.0 tokens/s, 0s left");
    }
}

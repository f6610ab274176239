//! `forebay synth`
#![allow(clippy::disallowed_methods)] // It makes the file that it is told to.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use forebay::infer::synth::routing::{Drawn, REFERENCE, Spread};
use forebay::infer::synth::{Config, SHAPES, Synthesis};
use serde_json::{Value, json};

use super::args::SynthArgs;
use super::{Failure, show};

pub(crate) fn synth(args: SynthArgs) -> Result<(), Failure> {
    let (name, config) = shape(&args.shape)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::Other(format!("{}: {error}", args.shape));
    let synthesis = Synthesis::new(&config, args.quant, args.disk, args.seed, &name).map_err(|error| wrong(&error))?;
    if args.out.exists() && !args.force {
        return Err(Failure::Usage(format!("{} is there already; --force replaces it", args.out.display())));
    }
    let routing = synthesis.routing();
    write(&synthesis, &args.out)?;
    if args.json {
        return show::json(&json!({
            "file": args.out.display().to_string(),
            "tensor_bytes": synthesis.tensor_bytes(),
            "file_bytes": synthesis.file_bytes(),
            "pool_bytes": synthesis.pool_bytes(),
            "routing": routing.iter().map(as_json).collect::<Vec<_>>(),
            "routing_like_recorded": synthesis.routing_as_recorded().as_ref().map(as_json),
            "recorded": spread_as_json(&REFERENCE),
        }));
    }
    show::line(&format!(
        "{}: {} of tensors in {}",
        args.out.display(),
        show::size(synthesis.tensor_bytes()),
        show::size(synthesis.file_bytes())
    ))?;
    if let Some(pool) = synthesis.pool_bytes() {
        show::line(&format!("the matrices that may be missing share a pool of {}", show::size(pool)))?;
    }
    if routing.is_empty() { Ok(()) } else { table(&routing, synthesis.routing_as_recorded()) }
}

/// A shape by its name, or by the path of a `config.json`.
fn shape(name: &str) -> Result<(String, Config), Failure> {
    let path = Path::new(name);
    if SHAPES.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) || !path.exists() {
        let config = Config::named(name).map_err(|error| Failure::Usage(format!("--shape: {error}")))?;
        return Ok((name.to_ascii_lowercase(), config));
    }
    let json = fs::read_to_string(path).map_err(|source| Failure::Io { what: name.to_owned(), source })?;
    let config = Config::from_json(&json).map_err(|error| Failure::Other(format!("{name}: {error}")))?;
    Ok((path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned()), config))
}

/// Writes beside the file and renames, so that what has its name is whole.
fn write(synthesis: &Synthesis, out: &Path) -> Result<(), Failure> {
    let mut unfinished = OsString::from(out);
    unfinished.push(format!(".{}.partial", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let failed = |source| Failure::Io { what: unfinished.display().to_string(), source };
    let bar = show::byte_bar("writing", synthesis.file_bytes());
    let file = File::create(&unfinished).map_err(failed)?;
    let written = synthesis
        .write(BufWriter::new(&file), |done| bar.set_position(done))
        .map_err(|error| Failure::Other(format!("{}: {error}", unfinished.display())))
        .and_then(|()| file.sync_all().map_err(failed))
        .and_then(|()| fs::rename(&unfinished, out).map_err(failed));
    bar.finish_and_clear();
    if written.is_err() {
        // What is left of it is of no use, and the disk may be full.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn table(routing: &[Drawn], like_recorded: Option<Drawn>) -> Result<(), Failure> {
    show::line("")?;
    show::line("routing, over 128 tokens that come one after the other:")?;
    let head = ["of a token's experts,", "16 before", "on the eighth", "experts", "named a"];
    let below = ["chosen by the one before", "", "chosen most", "touched", "layer early"];
    for words in [head, below] {
        let [a, b, c, d, e] = words;
        show::line(&format!("{:22} {a:>24} {b:>9} {c:>13} {d:>7} {e:>11}", ""))?;
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let row = |name: &str, spread: &Spread, foreseen: Option<f64>| {
        let Spread { before, long_before, top_eighth, touched } = *spread;
        let [a, b, c, d] = [before, long_before, top_eighth, touched].map(percent);
        show::line(&format!("{name:22} {a:>24} {b:>9} {c:>13} {d:>7} {:>11}", foreseen.map_or("".into(), percent)))
    };
    for drawn in routing {
        row(&format!("layer {}", drawn.layer), &drawn.spread, Some(drawn.foreseen))?;
    }
    if let Some(drawn) = like_recorded {
        row("the same, 6 of 128", &drawn.spread, Some(drawn.foreseen))?;
    }
    row("recorded, 6 of 128", &REFERENCE, None)?;
    show::line(
        "what layers add to a token is drawn here, not computed; `forebay run --trace-out` records what is chosen in truth",
    )
}

fn as_json(drawn: &Drawn) -> Value {
    json!({ "layer": drawn.layer, "spread": spread_as_json(&drawn.spread), "foreseen": drawn.foreseen })
}

fn spread_as_json(spread: &Spread) -> Value {
    let Spread { before, long_before, top_eighth, touched } = *spread;
    json!({ "before": before, "16_before": long_before, "top_eighth": top_eighth, "touched": touched })
}

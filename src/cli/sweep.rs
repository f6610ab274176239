//! `forebay sweep`
#![allow(clippy::disallowed_methods)] // It writes the table and the picture that it is asked for.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use forebay::plot::{Chart, Lines};
use forebay::simulator::settings::Setting;
use forebay::simulator::sweep::{Rows, Sweep, advise, to_json};
use forebay::simulator::target::Target;
use forebay::simulator::{Case, Figures, parallel};

use super::args::SweepArgs;
use super::{Failure, show};

/// Shows what `simulate` makes of each cell, or which cell a target needs.
pub(crate) fn sweep<E: Display>(
    args: SweepArgs,
    simulate: impl Fn(&Case) -> Result<Figures, E> + Sync,
) -> Result<(), Failure> {
    let named = |field: &str, value: &Option<String>| value.as_deref().map(|value| Setting::from_text(field, value));
    let fixed = [named("device", &args.device), named("model", &args.model)].into_iter().flatten();
    let mut fixed = fixed.collect::<Result<Vec<_>, _>>().map_err(usage)?;
    fixed.extend(args.set.iter().cloned());
    let sweep = Sweep::new(fixed, args.axis.clone()).map_err(usage)?;
    match &args.advise {
        Some(target) => advice(&sweep, target, &args, simulate),
        None => table(&sweep, &args, simulate),
    }
}

fn advice<E: Display>(
    sweep: &Sweep,
    target: &Target,
    args: &SweepArgs,
    simulate: impl Fn(&Case) -> Result<Figures, E> + Sync,
) -> Result<(), Failure> {
    let bar = show::spinner("searching");
    let advice = advise(sweep, target, args.judge, simulate, || bar.inc(1)).map_err(usage)?;
    bar.finish_and_clear();
    if args.json {
        return show::out(&to_json(target, args.judge, &advice));
    }
    show::line(&format!("{target}, judged at the {} edge", args.judge))?;
    advice.iter().try_for_each(|advice| show::out(&advice.to_string()))
}

fn table<E: Display>(
    sweep: &Sweep,
    args: &SweepArgs,
    simulate: impl Fn(&Case) -> Result<Figures, E> + Sync,
) -> Result<(), Failure> {
    // Before hours of simulation, not after.
    let picture = args.plot.as_deref().map(Picture::of).transpose()?;
    let mut lines = picture.map(|_| Lines::new(sweep, args.metric)).transpose().map_err(usage)?;
    let io_failure = |path: &Path, source| Failure::Io { what: path.display().to_string(), source };
    let (out, name): (Box<dyn Write>, _) = match &args.csv {
        Some(path) => (Box::new(File::create(path).map_err(|e| io_failure(path, e))?), path.display().to_string()),
        None => (Box::new(io::stdout()), "standard output".to_owned()),
    };
    let csv_failure = |error: csv::Error| match error.into_kind() {
        // As with every other output, a reader that went away has what it wanted.
        csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        csv::ErrorKind::Io(source) => Failure::Io { what: name.clone(), source },
        other => Failure::Other(format!("{name}: {other:?}")),
    };
    let mut rows = Rows::new(sweep, out).map_err(csv_failure)?;
    let bar = show::count_bar("simulating", sweep.len() as u64);
    let work = |cell: &forebay::simulator::sweep::Cell| simulate(&cell.case).map_err(|e| e.to_string());
    let mut failed = 0;
    parallel::in_order(parallel::all_cores(), sweep.cells(), work, |cell, figures| {
        match (&figures, &mut lines) {
            (Ok(figures), Some(lines)) => lines.set(&cell, figures.band(args.metric)),
            (Err(_), _) => failed += 1,
            (Ok(_), None) => {}
        }
        bar.inc(1);
        rows.write(&cell, figures.as_ref().map_err(String::as_str)).map_err(csv_failure)
    })?;
    bar.finish_and_clear();
    if failed > 0 {
        eprintln!("forebay: {failed} of {} cells could not be simulated; their rows say why", sweep.len());
    }
    if let (Some(path), Some(picture), Some(lines)) = (&args.plot, picture, lines) {
        let contents = picture.draw(&lines.chart())?;
        std::fs::write(path, contents).map_err(|e| io_failure(path, e))?;
    }
    Ok(())
}

/// The form of a picture.
#[derive(Debug, Clone, Copy)]
enum Picture {
    Svg,
    Png,
}

impl Picture {
    fn of(path: &Path) -> Result<Picture, Failure> {
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        match ending.as_deref().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Picture::Svg),
            Some("png") => Ok(Picture::Png),
            _ => Err(usage(format!("--plot: '{}' ends neither in .svg nor in .png", path.display()))),
        }
    }

    fn draw(self, chart: &Chart) -> Result<Vec<u8>, Failure> {
        let drawn = match self {
            Picture::Svg => chart.svg().map(String::into_bytes),
            Picture::Png => chart.png(),
        };
        drawn.map_err(|e| Failure::Other(e.to_string()))
    }
}

fn usage(error: impl Display) -> Failure {
    Failure::Usage(error.to_string())
}

//! `forebay devices`

use forebay::simulate::profile;
use forebay::simulator::profile::{Edge, Figure, Grade, Profile};
use serde::Serialize;

use super::args::DevicesArgs;
use super::{Failure, show};

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    title: String,
    link_mb_s: f64,
    memory_gb_s: f64,
    app_gib: f64,
    measured: usize,
    figures: usize,
    /// Of the simulated sweep against the measured one, where there is one.
    fit_mean_error: Option<f64>,
    fit_max_error: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Row {
    figure: String,
    value: f64,
    low: f64,
    high: f64,
    grade: String,
    source: String,
}

pub(crate) fn devices(args: DevicesArgs) -> Result<(), Failure> {
    match &args.name {
        None => list(args.json),
        Some(name) => detail(&profile(name)?, args.json),
    }
}

fn list(json: bool) -> Result<(), Failure> {
    let line = |profile: Profile| {
        let device = profile.at(Edge::Nominal);
        let fields = profile.fields();
        Line {
            link_mb_s: device.flash.link_bytes_s / 1e6,
            memory_gb_s: device.memory.bandwidth_bytes_s / 1e9,
            app_gib: device.memory.app_bytes / (1u64 << 30) as f64,
            measured: fields.iter().filter(|field| field.figure.grade == Grade::Measured).count(),
            figures: fields.len(),
            fit_mean_error: profile.fit.as_ref().map(|fit| fit.mean_error),
            fit_max_error: profile.fit.as_ref().map(|fit| fit.max_error),
            name: profile.name,
            title: profile.title,
        }
    };
    let lines: Vec<Line> = Profile::all().into_iter().map(line).collect();
    if json {
        return show::json(&lines);
    }
    show::line(&format!(
        "{:24}{:>12}{:>14}{:>10}{:>14}{:>18}  ",
        "device", "flash MB/s", "memory GB/s", "app GiB", "measured", "misses by (max)"
    ))?;
    for l in lines {
        let measured = format!("{} of {}", l.measured, l.figures);
        let errors = l.fit_mean_error.zip(l.fit_max_error);
        let misses = errors.map_or("-".to_owned(), |(mean, max)| format!("{:.1} % ({:.1})", 100.0 * mean, 100.0 * max));
        show::line(&format!(
            "{:24}{:>12.0}{:>14.0}{:>10.1}{measured:>14}{misses:>18}  {}",
            l.name, l.link_mb_s, l.memory_gb_s, l.app_gib, l.title
        ))?;
    }
    Ok(())
}

fn detail(profile: &Profile, json: bool) -> Result<(), Failure> {
    let row = |name: &str, figure: &Figure| Row {
        figure: name.to_owned(),
        value: figure.value,
        low: figure.low,
        high: figure.high,
        grade: figure.grade.to_string(),
        source: figure.source.clone(),
    };
    let rows: Vec<Row> = profile.fields().iter().map(|field| row(&field.name, field.figure)).collect();
    if json {
        return show::json(&rows);
    }
    show::line(&format!("{}: {}", profile.name, profile.title))?;
    if !profile.notes.is_empty() {
        show::line(&profile.notes)?;
    }
    show::line("")?;
    for r in rows {
        let band = format!("{} ({} to {})", r.value, r.low, r.high);
        show::line(&format!("{:34}{band:34}{:10}{}", r.figure, r.grade, r.source))?;
    }
    Ok(())
}

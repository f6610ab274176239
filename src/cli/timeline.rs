//! `--timeline` and `forebay report`
#![allow(clippy::disallowed_methods)] // It makes and opens the files that it is told to.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use forebay::device::AnyEngine;
use forebay::infer::budget::Budget;
use forebay::infer::open::{Loaded, Options};
use forebay::pager::{Choice, Journal, Nanos};
use forebay::simulate::Simulation;
use forebay::simulator::Case;
use forebay::simulator::timeline::{self, ClockKind, Figures, Timeline, page};
use forebay::timeline::{Run, capacity, most_pages, of_engine, of_simulation};

use super::args::ReportArgs;
use super::{Failure, show};

/// A timeline that is going to be written.
pub(crate) struct Recording {
    path: PathBuf,
    out: File,
    prompt: usize,
    tokens: usize,
    capacity: usize,
    begin: Nanos,
}

impl Recording {
    /// A file at `path` for the timeline of a run that writes up to `tokens` behind `prompt` tokens.
    pub(crate) fn create(path: &Path, prompt: usize, tokens: usize) -> Result<Self, Failure> {
        let out = File::create(path).map_err(|source| failure(path, source))?;
        Ok(Recording { path: path.to_owned(), out, prompt, tokens, capacity: 0, begin: Nanos::ZERO })
    }

    /// Takes the memory for it from the ceiling.
    pub(crate) fn pay(mut self, loaded: &Loaded, options: &mut Options) -> Self {
        let Options { ram, page_len, .. } = *options;
        self.capacity = capacity(&loaded.map, self.prompt, self.tokens, page_len, ram);
        let pages = most_pages(&loaded.map, page_len) as usize;
        options.process += (Journal::bytes(self.capacity) + timeline::writing_bytes(pages)) as u64;
        self
    }

    /// From here on everything is put down.
    pub(crate) fn start(mut self, engine: &mut AnyEngine) -> Self {
        self.begin = engine.now();
        engine.weights_mut().scheduler_mut().pager_mut().keep_journal(Some(Journal::new(self.capacity)));
        self
    }

    /// Writes what was put down.
    pub(crate) fn finish(
        self,
        engine: &mut AnyEngine,
        loaded: &Loaded,
        budget: &Budget,
        choice: &Choice,
        clock: ClockKind,
    ) -> Result<(), Failure> {
        let pager = engine.weights_mut().scheduler_mut().pager_mut();
        let journal = pager.keep_journal(None).unwrap_or_default();
        let model = loaded.gguf.files.first().and_then(|file| file.file_name());
        let model = model.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let run = Run { model: &model, flash: &choice.how, clock, budget, prompt_tokens: self.prompt };
        let timeline = of_engine(run, &loaded.map, engine, &journal, self.begin);
        write(&timeline, &self.path, &self.out)
    }
}

/// The timeline of a simulated run, to a file at `path`.
pub(crate) fn write_simulated(path: &Path, case: &Case, simulation: &Simulation) -> Result<(), Failure> {
    let none = || Failure::Usage("--timeline: this way of reading has no pager, and so no events".into());
    let timeline = of_simulation(case, simulation).ok_or_else(none)?;
    let out = File::create(path).map_err(|source| failure(path, source))?;
    write(&timeline, path, &out)
}

fn write(timeline: &Timeline<'_>, path: &Path, out: &File) -> Result<(), Failure> {
    timeline::write(timeline, out).map_err(|source| failure(path, source))?;
    if timeline.lost > 0 {
        let (kept, lost) = (timeline.events.len(), timeline.lost);
        eprintln!("[--timeline had room for {kept} events; the last {lost} of the run are not in it]");
    }
    Ok(())
}

/// `forebay report`
pub(crate) fn report(args: &ReportArgs) -> Result<(), Failure> {
    let path = &args.timeline;
    let file = File::open(path).map_err(|source| failure(path, source))?;
    let timeline = timeline::read(file).map_err(|source| Failure::Timeline { path: path.clone(), source })?;
    let nothing = || Failure::Other(format!("{}: no pass through the model is in it", path.display()));
    let figures = Figures::of(&timeline).ok_or_else(nothing)?;
    if args.json {
        return show::json(&figures);
    }
    let out = args.out.clone().unwrap_or_else(|| path.with_extension("html"));
    if out == *path {
        return Err(Failure::Usage("-o: the page would replace the timeline".into()));
    }
    let html = page::render(&timeline, &figures).map_err(|e| Failure::Other(e.to_string()))?;
    File::create(&out).and_then(|mut file| file.write_all(html.as_bytes())).map_err(|source| failure(&out, source))?;
    eprintln!("[written: {}]", out.display());
    Ok(())
}

fn failure(path: &Path, source: io::Error) -> Failure {
    Failure::Io { what: path.display().to_string(), source }
}

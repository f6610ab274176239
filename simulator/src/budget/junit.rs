//! A report as JUnit XML: what CI servers show as test results. A budget is a suite, a case is a test.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::table;
use super::verdict::{CaseReport, Outcome, Report, Verdict};

/// Writing to memory does not fail.
const IN_MEMORY: &str = "memory takes all that is written";

impl Report {
    /// The report as JUnit XML. Nothing is timed: what a simulation takes says nothing about what is simulated.
    pub fn to_junit(&self) -> String {
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
        write(&mut xml, Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        open(&mut xml, "testsuites", &counts("forebay budget", &self.cases));
        for suite in self.cases.chunk_by(|a, b| a.cell.budget == b.cell.budget) {
            open(&mut xml, "testsuite", &counts(&suite[0].cell.budget, suite));
            for case in suite {
                self.test(&mut xml, case);
            }
            close(&mut xml, "testsuite");
        }
        close(&mut xml, "testsuites");
        String::from_utf8(xml.into_inner()).expect("made of strings") + "\n"
    }

    fn test(&self, xml: &mut Writer<Vec<u8>>, case: &CaseReport) {
        let cell = &case.cell;
        let file = self.path.display().to_string();
        let attributes = [
            ("name", cell.name.as_str()),
            ("classname", &cell.budget),
            ("file", &file),
            ("line", &cell.line.to_string()),
            ("time", "0"),
        ];
        open(xml, "testcase", &attributes.map(|(name, value)| (name, value.to_owned())));
        let lines = table::lines(case);
        if let Some((kind, message)) = failure(case) {
            open(xml, "failure", &[("message", message), ("type", kind.to_owned())]);
            text(xml, &lines.join("\n"));
            close(xml, "failure");
        }
        open(xml, "system-out", &[]);
        text(xml, &lines.join("\n"));
        close(xml, "system-out");
        close(xml, "testcase");
    }
}

/// What kind of failure it is, and all of it in one line; `None` if it is none.
fn failure(case: &CaseReport) -> Option<(&'static str, String)> {
    let judgements = match &case.outcome {
        Outcome::Judged { judgements, .. } => judgements,
        Outcome::Impossible { reason } => return Some(("impossible", table::impossible(reason))),
    };
    let misses: Vec<_> = judgements.iter().filter(|j| j.verdict != Verdict::Met).collect();
    let missed = misses.iter().any(|j| j.verdict == Verdict::Missed);
    let message = |j: &&super::Judgement| {
        let figure = crate::shown::figure(j.target.metric, j.figure);
        format!("{}: {figure} ({})", j.target, table::note(j, case.cell.allowed))
    };
    let message = misses.iter().map(message).collect::<Vec<_>>().join(", ");
    (!misses.is_empty()).then_some((if missed { "missed" } else { "regressed" }, message))
}

fn counts(name: &str, cases: &[CaseReport]) -> [(&'static str, String); 6] {
    let failures = cases.iter().filter(|case| !case.passed()).count();
    [
        ("name", name.to_owned()),
        ("tests", cases.len().to_string()),
        ("failures", failures.to_string()),
        ("errors", "0".to_owned()),
        ("skipped", "0".to_owned()),
        ("time", "0".to_owned()),
    ]
}

fn open(xml: &mut Writer<Vec<u8>>, element: &str, attributes: &[(&str, String)]) {
    let mut start = BytesStart::new(element);
    for (name, value) in attributes {
        start.push_attribute((*name, printable(value).as_str()));
    }
    write(xml, Event::Start(start));
}

fn close(xml: &mut Writer<Vec<u8>>, element: &str) {
    write(xml, Event::End(BytesEnd::new(element)));
}

fn text(xml: &mut Writer<Vec<u8>>, text: &str) {
    write(xml, Event::Text(BytesText::new(&printable(text))));
}

fn write(xml: &mut Writer<Vec<u8>>, event: Event<'_>) {
    xml.write_event(event).expect(IN_MEMORY);
}

/// XML has no way to write most control characters.
fn printable(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'));
    text.chars().map(|c| if allowed(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

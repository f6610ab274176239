//! The page.

use proptest::prelude::*;

use super::super::page::render;
use super::super::{Facts, Figures, Timeline};
use super::{any_run, small};

fn page(run: &Timeline<'_>) -> String {
    render(run, &Figures::of(run).unwrap()).unwrap()
}

#[test]
fn strings_cannot_leave_their_place() {
    let run = small();
    let evil = "</script><script>alert(1)</script>\"'&<b>";
    let facts = Facts { model: evil.into(), flash: evil.into(), ..run.facts.clone() };
    let mut run = Timeline { facts, ..run };
    run.steps[0].name.part = evil.into();
    let page = page(&run);
    let tame = self::page(&small());
    for mark in ["<script", "</script", "<b>", "alert(1)</"] {
        assert_eq!(page.matches(mark).count(), tame.matches(mark).count(), "{mark}");
    }
    assert!(page.contains("&lt;&#x2f;script&gt;"), "it is shown");
}

#[test]
fn the_page_needs_nothing_else() {
    let page = page(&small());
    for outside in ["http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn the_page_tells_what_was_measured() {
    let run = small();
    let page = page(&run);
    for told in
        ["500\u{202f}000", "35.0 <small>%", "8.19 <small>kB", "layer", "of experts&#x27; pages 100.0 %", "simulated"]
    {
        assert!(page.contains(told), "{told} in {page}");
    }
    assert!(!page.contains("not kept") && !page.contains("Nothing was decoded"));
    let lost = Timeline { lost: 12_345, ..run };
    assert!(self::page(&lost).contains("The last 12\u{202f}345 events of the run were not kept"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_run_gives_a_number_that_is_none(run in any_run()) {
        if let Some(figures) = Figures::of(&run) {
            let page = render(&run, &figures).unwrap();
            let body = &page[page.find("<body>").unwrap()..page.find("<script>").unwrap()];
            prop_assert!(!body.contains("NaN") && !body.contains(">inf") && !body.contains("\"inf"), "{body}");
        }
    }
}

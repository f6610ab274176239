//! Files that are no timelines, or no longer.

use super::super::{read, write};
use super::small;

fn lines() -> Vec<String> {
    let mut out = Vec::new();
    write(&small(), &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = read(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, message);
}

/// The small timeline with a part of one of its lines replaced; and the number of that line.
fn altered(old: &str, new: &str) -> (String, usize) {
    let mut lines = lines();
    let place = lines.iter().rposition(|line| line.contains(old)).unwrap();
    lines[place] = lines[place].replace(old, new);
    (lines.join("\n"), place + 1)
}

#[test]
fn other_files_are_refused() {
    refused("", "the timeline ends too early, or is not all there: EOF while parsing a value at line 1 column 0");
    refused("GGUF", "this is no JSON: expected value at line 1 column 1");
    let empty = "invalid length 0, expected a trace with a part `forebay` at line 1 column 2";
    refused("[]\n", &format!("this is no timeline of forebay: {empty}"));
    refused("{\"traceEvents\":[]}", "this is no timeline of forebay: missing field `forebay` at line 1 column 18");
    let one = "invalid type: integer `1`, expected the part `forebay` of a trace at line 1 column 3";
    refused("[1]", &format!("this is no timeline of forebay: {one}"));
}

#[test]
fn a_file_that_ends_too_early_says_where() {
    let lines = lines();
    let whole = lines.join("\n");
    refused(
        &lines[..20].join("\n"),
        "the timeline ends too early, or is not all there: EOF while parsing a value at line 20 column 80",
    );
    for end in (1..whole.len() - 1).step_by(97) {
        let error = read(&whole.as_bytes()[..end]).unwrap_err().to_string();
        // Behind the point of a number there are digits wanted, whatever else is missing.
        let told = error.starts_with("the timeline ends too early") || error.contains("invalid number");
        assert!(told && error.contains(" at line "), "{end}: {error}");
    }
}

#[test]
fn what_is_wrong_in_a_line_is_told_with_its_place() {
    let place = |old, new, what: &str, column: usize| {
        let (text, line) = altered(old, new);
        refused(&text, &format!("this is no timeline of forebay: {what} at line {line} column {column}"));
    };
    place("\"format\":1", "\"format\":2", "it has form 2, and this program reads form 1", 22);
    place("\"experts\",", "\"gate\",", "'gate' is no kind of step", 11);
    place("[1501,\"leased\",1]", "[1501,\"leased\"]", "an event has too few items", 15);
    place("[1501,\"leased\",1]", "[1501,\"leased\",1,1]", "an event has too many items", 19);
    place("[1501,\"leased\",1]", "[1501,\"leased\",-1]", "invalid value: integer `-1`, expected u32", 18);
    place("\"clock\":\"virtual\"", "\"clock\":\"sand\"", "unknown variant `sand`, expected `system` or `virtual`", 78);
}

#[test]
fn contradictions_are_told() {
    let contradiction = |old, new, what: &str| {
        refused(&altered(old, new).0, &format!("the timeline contradicts itself: {what}"));
    };
    contradiction("[1501,\"leased\",1]", "[1501,\"leased\",10]", "event 8 of 47: page 10 of 10");
    contradiction(
        "[1501,\"leased\",1]",
        "[1499,\"leased\",1]",
        "event 8 of 47: it is at 1499 ns, after one at 1500 ns",
    );
    contradiction("[4400,\"step\",3]", "[4400,\"step\",4]", "event 46 of 47: step 4 of 4");
    contradiction(
        "[4300,\"stalled\",3600]",
        "[4300,\"stalled\",4301]",
        "event 44 of 47: it ends at 4300 ns, before it began at 4301 ns",
    );
    contradiction("[3000,\"pass\",1,2]", "[3000,\"pass\",0,2]", "event 28 of 47: a pass of no tokens");
    contradiction("\"end\":5000", "\"end\":4399", "the end is at 4399 ns, before the last event");
    contradiction(
        "\"experts\",\"\",6,[3,2,1]",
        "\"experts\",\"\",6,[3,0,1]",
        "step 1 (layer 0 experts): 3 experts of 0 pages have not 6",
    );
    contradiction("\"qkv\",2,", "\"qkv\",3,", "the steps have 11 pages, and there are 10");
    contradiction("\"qkv\",2,", "\"qkv\",4294967295,", "step 1: there are too many pages");
}

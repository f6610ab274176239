//! The trace format: what is written is read again, and what is damaged is refused with its place.

mod synthetic;

use forebay_prefetch::experts::trace::{Phase, Row, Trace, TraceBuilder, TraceWriter};
use proptest::prelude::*;

const GOOD: &str = "\
# route_trace v1
# model=m.gguf arch=qwen3moe n_layer=2 n_expert=8 n_expert_used=2
# layer=0 expert_bytes=100 dense_bytes=50
# layer=1 expert_bytes=200 dense_bytes=50
turn,phase,step,layer,slot,expert,weight,residency,expert_bytes
0,0,0,0,0,5,0.7,0,100
0,0,0,0,1,3,0.3,0,100
0,0,1,0,0,5,0.6,0,0
0,0,1,0,1,1,0.4,0,100
0,0,1,1,0,7,0.6,0,200
0,1,2,0,0,5,0.9,1,0
0,1,2,1,0,7,0.8,1,0
0,1,3,0,0,2,0.9,0,100
";

fn read(text: &str) -> Result<Trace, String> {
    Trace::read(text.as_bytes()).map_err(|e| e.to_string())
}

#[test]
fn rows_become_visits() {
    let trace = read(GOOD).unwrap();
    let visits: Vec<_> = trace.visits().map(|v| (v.layer, v.tokens, v.choices.len())).collect();
    assert_eq!(visits, [(0, 2, 4), (1, 2, 1), (0, 1, 1), (1, 1, 1), (0, 1, 1)]);
    let last_of_prompt = trace.visit(1).unwrap().choices[0];
    assert_eq!((last_of_prompt.token, last_of_prompt.expert), (1, 7), "the last layer was computed for the last token");
    assert_eq!((trace.tokens(Phase::Prompt), trace.tokens(Phase::Decode)), (2, 2));
    assert_eq!((trace.expert_count(), trace.largest_expert(), trace.expert_bytes(0)), (16, 200, 100));
    assert_eq!(trace.header().arch, "qwen3moe");
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_field() {
    let change = |from: &str, to: &str| read(&GOOD.replacen(from, to, 1)).unwrap_err();
    for (from, to, says) in [
        ("v1", "v2", "line 1: this is no routing trace"),
        ("n_expert_used=2", "n_expert_used=9", "field 'n_expert_used' is '9': a router chooses 1 to 8"),
        ("n_expert=8", "n_expert=99999999", "field 'n_expert'"),
        ("n_layer=2", "n_layer=99999999999", "line 2: field 'n_layer'"),
        ("n_layer=2", "n_layer=0", "field 'n_layer' is '0'"),
        ("# layer=1", "# layer=2", "line 4: field 'layer' is '2': the model has 2 layers"),
        ("expert_bytes=100 ", "", "line 3: field 'expert_bytes' is ''"),
        ("turn,", "", "the header ends without the names of the columns"),
        ("# layer=1 expert_bytes=200 dense_bytes=50\n", "", "line 9: field 'layer' is '1': the header gives no size"),
        ("0.7", "lots", "line 6: field 'weight' is 'lots'"),
        ("0.7", "NaN", "line 6: field 'weight' is 'NaN'"),
        ("0,0,0,0,1,3,0.3,0,100", "0,0,0,0,1,5,0.3,0,100", "line 7: field 'expert' is '5': the token chose it already"),
        ("0,0,1,0,0,5", "0,0,0,0,2,6", "line 8: field 'expert' is '6': a token has 2 experts in a layer"),
        ("5,0.7,0,100", "8,0.7,0,100", "line 6: field 'expert' is '8': a layer has 8 experts"),
        ("5,0.7,0,100", "5,0.7,2,100", "line 6: field 'residency' is '2': it must be 0 or 1"),
        ("5,0.7,0,100", "5,0.7,0", "line 6: 8 fields"),
        ("0,0,1,1,0,7", "0,0,1,2,0,7", "line 10: field 'layer' is '2'"),
    ] {
        let message = change(from, to);
        assert!(message.contains(says), "{from} -> {to}: {message}");
    }
    let rows = GOOD.find("0,0,0").unwrap();
    assert_eq!(read(&GOOD[..rows]).unwrap_err(), "the trace has no rows");
    assert!(read("").unwrap_err().contains("no routing trace"));
}

fn write(trace: &Trace) -> String {
    let mut writer = TraceWriter::new(Vec::new(), trace.header()).unwrap();
    let (mut first, mut last) = (0, None);
    for (number, visit) in trace.visits().enumerate() {
        let phase = trace.phase(number);
        first += last.filter(|&(layer, _)| visit.layer <= layer).map_or(0, |(_, tokens)| tokens as u32);
        last = Some((visit.layer, visit.tokens));
        writer.visit(0, phase, first, &visit, |expert| (expert % 2 == 0).then_some(7)).unwrap();
    }
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

#[test]
fn what_is_written_is_read() {
    for recipe in &synthetic::RECIPES {
        let trace = synthetic::trace(recipe);
        assert_eq!(Trace::read(write(&trace).as_bytes()).unwrap(), trace, "{}", recipe.name);
    }
    let trace = read(GOOD).unwrap();
    assert_eq!(read(&write(&trace)).unwrap(), trace);
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(at in prop::collection::vec((0..GOOD.len(), any::<u8>()), 1..8), cut in 0..GOOD.len()) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (place, value) in at {
            bytes[place] = value;
        }
        let _ = Trace::read(&bytes[..]);
        bytes.truncate(cut);
        let _ = Trace::read(&bytes[..]);
    }

    #[test]
    fn any_line_in_any_place_is_read_or_refused(line in "[#a-z_=,.0-9 -]{0,60}", place in 0usize..14) {
        let mut lines: Vec<&str> = GOOD.lines().collect();
        lines.insert(place.min(lines.len()), &line);
        let _ = read(&lines.join("\n"));
    }

    #[test]
    fn any_rows_give_a_trace_that_can_be_written(rows in prop::collection::vec(
        (0u32..2, any::<bool>(), 0u32..4, 0u32..3, 0u32..5), 0..40,
    )) {
        let mut builder = TraceBuilder::new(synthetic::header(2, 4, 2)).unwrap();
        let mut taken = 0;
        for (turn, decode, step, layer, expert) in rows {
            let phase = if decode { Phase::Decode } else { Phase::Prompt };
            let row = Row { turn, phase, step, layer, slot: 0, expert, weight: 0.25, resident: false, read: 0 };
            taken += usize::from(builder.push(row).is_ok());
        }
        match builder.finish() {
            Ok(trace) => {
                prop_assert_eq!(trace.visits().map(|v| v.choices.len()).sum::<usize>(), taken);
                for visit in trace.visits() {
                    prop_assert!(visit.choices.iter().all(|c| (c.token as usize) < visit.tokens));
                }
            }
            Err(_) => prop_assert_eq!(taken, 0),
        }
    }
}

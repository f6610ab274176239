//! Typed access to metadata.

use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{Header, Metadata, Value, ValueType, parse};

fn metadata(fill: impl FnOnce(&mut Writer)) -> Metadata {
    let mut writer = Writer::new();
    fill(&mut writer);
    let bytes = writer.to_bytes::<Vec<u8>>([]).expect("valid keys");
    let Header { metadata, .. } = parse(&bytes, bytes.len() as u64).expect("a valid header");
    metadata
}

fn text<T>(result: Result<T, forebay_infer::gguf::Error>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn integers_of_any_type_that_fits() {
    let m = metadata(|w| {
        w.scalar("u8", 7u8).scalar("i8", -7i8).scalar("u16", 700u16).scalar("i16", 7i16);
        w.scalar("u64", u64::MAX).scalar("i64", 1i64 << 40).scalar("f", 1f32);
    });
    assert_eq!(m.u64("u8").ok(), Some(7));
    assert_eq!(m.u32("u16").ok(), Some(700));
    assert_eq!(m.u32("i16").ok(), Some(7));
    assert_eq!(m.i32("i8").ok(), Some(-7));
    assert_eq!(m.u64("u64").ok(), Some(u64::MAX));
    assert_eq!(m.u64("i64").ok(), Some(1 << 40));
    assert_eq!(m.i64("i64").ok(), Some(1 << 40));
    assert_eq!(text(m.u32("i64")), "key \"i64\": expected an integer that fits u32, found i64 (1099511627776)");
    assert_eq!(text(m.u64("i8")), "key \"i8\": expected an integer that fits u64, found i8 (-7)");
    assert_eq!(text(m.u64("f")), "key \"f\": expected an integer that fits u64, found f32");
    assert_eq!(text(m.u64("absent")), "key \"absent\" is missing");
    assert_eq!(m.optional(m.u64("absent")).ok(), Some(None));
    assert_eq!(m.optional(m.u64("u8")).ok(), Some(Some(7)));
    assert!(m.optional(m.u64("f")).is_err());
}

#[test]
fn other_scalars() {
    let m = metadata(|w| {
        w.scalar("f32", 0.5f32).scalar("f64", 0.25f64).scalar("yes", true).str("name", "Ünï").str("empty", "");
    });
    assert_eq!(m.f32("f32").ok(), Some(0.5));
    assert_eq!(m.f32("f64").ok(), Some(0.25));
    assert_eq!(m.bool("yes").ok(), Some(true));
    assert_eq!(m.str("name").ok(), Some("Ünï"));
    assert_eq!(m.str("empty").ok(), Some(""));
    assert_eq!(text(m.f32("name")), "key \"name\": expected f32, found string");
    assert_eq!(text(m.bool("f32")), "key \"f32\": expected bool, found f32");
    assert_eq!(text(m.str("yes")), "key \"yes\": expected string, found bool");
}

#[test]
fn arrays() {
    let m = metadata(|w| {
        w.strings("tokens", &[&b"a"[..], b"", b"\xf0\x9f", "ß".as_bytes()]);
        w.array("scores", &[1f32, -2.5]).array("types", &[1i32, 6]).array("wide", &[3u64, 1 << 33]);
        w.array("flags", &[true, false]).array::<u32>("none", &[]).scalar("n", 3u32);
    });
    let tokens = m.strings("tokens").expect("strings");
    assert_eq!(tokens.len(), 4);
    assert_eq!(tokens.clone().collect::<Vec<_>>(), [&b"a"[..], b"", b"\xf0\x9f", "ß".as_bytes()]);
    let checked: Vec<_> = tokens.utf8("tokens").collect();
    assert_eq!(checked[3].as_ref().ok(), Some(&"ß"));
    assert_eq!(
        checked[2].as_ref().expect_err("half a character").to_string(),
        "key \"tokens\", element 2: not UTF-8: \"\\xf0\\x9f\""
    );
    assert_eq!(m.f32s("scores").expect("floats").collect::<Vec<_>>(), [1.0, -2.5]);
    assert_eq!(m.i32s("types").expect("integers").collect::<Vec<_>>(), [1, 6]);
    assert_eq!(m.u32s("types").expect("integers").len(), 2);
    assert_eq!(m.bools("flags").expect("bools").collect::<Vec<_>>(), [true, false]);
    assert_eq!(m.u32s("none").expect("an empty array").len(), 0);
    assert_eq!(
        text(m.u32s("wide").map(drop)),
        "key \"wide\": expected array of integers that fit u32, found 8589934592 in element 1 of 2 u64"
    );
    assert_eq!(text(m.f32s("types").map(drop)), "key \"types\": expected array of f32, found 1 in element 0 of 2 i32");
    assert_eq!(
        text(m.i32s("tokens").map(drop)),
        "key \"tokens\": expected array of integers that fit i32, found array of 4 string"
    );
    assert_eq!(text(m.strings("scores").map(drop)), "key \"scores\": expected array of string, found array of 2 f32");
    assert_eq!(text(m.strings("n").map(drop)), "key \"n\": expected array of string, found u32 (3)");
    assert_eq!(text(m.str("tokens")), "key \"tokens\": expected string, found array of 4 string");
    assert_eq!(text(m.strings("absent").map(drop)), "key \"absent\" is missing");
}

#[test]
fn large_arrays_can_be_dropped_and_the_rest_stays() {
    let mut m = metadata(|w| {
        w.str("general.name", "x").strings("tokens", &vec!["token"; 10_000]).array("sections", &[16i32, 24, 24]);
        w.scalar("n", 3u32);
    });
    let before = m.memory();
    // The elements with their lengths; the lengths, types and counts of what is kept are not needed either.
    assert_eq!(m.drop_arrays_over(1000), 10_000 * (8 + 5) + 24 + 4 * (8 + 4) + 8 + 2 * (4 + 8));
    assert!(m.memory() < before - 130_000);
    assert_eq!(m.str("general.name").ok(), Some("x"));
    assert_eq!(m.u32("n").ok(), Some(3));
    assert_eq!(m.i32s("sections").expect("kept").collect::<Vec<_>>(), [16, 24, 24]);
    assert_eq!(text(m.strings("tokens").map(drop)), "key \"tokens\": the array was already dropped from memory");
    let Some(Value::Array(array)) = m.get("tokens") else { panic!("the key is still there") };
    assert_eq!((array.element(), array.len(), array.is_loaded()), (ValueType::String, 10_000, false));
    assert!(array.strings().is_none());
    let keys: Vec<_> = m.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.name", "tokens", "sections", "n"]);
    assert_eq!(m.drop_arrays_over(1000), 0);
}

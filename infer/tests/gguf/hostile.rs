//! Damaged files: never a panic, and whatever is still accepted keeps every promise.

use forebay_infer::gguf::{Header, Model, parse};
use proptest::prelude::*;

use super::round_trip::{file, item, shape};

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let items = prop::collection::vec(item(), 0..10);
    (items, prop::collection::vec(shape(), 1..5)).prop_map(|(items, shapes)| file(&items, &shapes, 32))
}

/// What holds for every header that is accepted, by arithmetic that cannot overflow.
fn check(header: &Header, file_len: u64) {
    let mut spans: Vec<(u128, u128)> = Vec::new();
    for t in &header.tensors {
        assert!((1..=4).contains(&t.dims.len()) && t.dims.iter().all(|d| *d > 0));
        assert_eq!(t.bytes as u128, t.row_bytes() as u128 * t.dims[1..].iter().map(|d| *d as u128).product::<u128>());
        assert_eq!((t.offset - header.data_start) % u64::from(header.alignment), 0);
        spans.push((t.offset.into(), t.offset as u128 + t.bytes as u128));
    }
    spans.sort_unstable();
    assert!(spans.iter().all(|s| s.1 <= u128::from(file_len)));
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0));
    let mut names: Vec<_> = header.tensors.iter().map(|t| &t.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
    walk(header);
}

/// Decodes every value there is.
fn walk(header: &Header) {
    let m = &header.metadata;
    assert_eq!(m.iter().count(), m.len());
    for (key, _) in m.iter() {
        if let Ok(strings) = m.strings(key) {
            assert_eq!(strings.len(), strings.clone().count());
            strings.utf8(key).for_each(drop);
        }
        m.i32s(key).map(Iterator::count).ok();
        m.f32s(key).map(Iterator::count).ok();
    }
    let mut m = m.clone();
    m.drop_arrays_over(3);
    assert_eq!(m.iter().count(), header.metadata.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn truncated_anywhere(bytes in any_file(), at in any::<prop::sample::Index>()) {
        let whole = parse(&bytes, bytes.len() as u64).expect("a valid file");
        let data_end = whole.tensors.iter().map(|t| t.end()).max().expect("a tensor");
        // Padding behind the last tensor may be missing; nothing else may.
        let at = at.index(data_end as usize);
        parse(&bytes[..at], at as u64).expect_err("truncated");
        // Behind the header, only the file's length tells.
        let header_end = whole.data_start as usize;
        let at_hand = at.max(header_end).min(bytes.len());
        parse(&bytes[..at_hand], at as u64).expect_err("truncated");
        check(&parse(&bytes[..header_end], bytes.len() as u64).expect("a whole header"), bytes.len() as u64);
    }

    #[test]
    fn incomplete_bytes_lead_to_the_header_in_few_steps(bytes in any_file()) {
        let (mut have, mut steps) = (0, 0);
        while let Err(e) = parse(&bytes[..have], bytes.len() as u64) {
            let forebay_infer::gguf::ErrorKind::Incomplete { needed, .. } = *e.kind() else { panic!("{e}") };
            prop_assert!(needed as usize > have && needed as usize <= bytes.len());
            have = (needed as usize).max(2 * have).min(bytes.len());
            steps += 1;
        }
        prop_assert!(steps < 20);
    }

    #[test]
    fn flipped_bits(mut bytes in any_file(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..6)) {
        let header_len = parse(&bytes, bytes.len() as u64).expect("a valid file").data_start as usize;
        for (at, bit) in flips {
            bytes[at.index(header_len)] ^= 1 << bit;
        }
        if let Ok(header) = parse(&bytes, bytes.len() as u64) {
            check(&header, bytes.len() as u64);
        }
    }

    #[test]
    fn overwritten_numbers(
        mut bytes in any_file(),
        at in any::<prop::sample::Index>(),
        number in prop_oneof![any::<u64>(), (0..64u32).prop_map(|n| 1 << n), (0..64u32).prop_map(|n| u64::MAX >> n)],
    ) {
        let header_len = parse(&bytes, bytes.len() as u64).expect("a valid file").data_start as usize;
        let at = at.index(header_len - 8);
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        // Behind a larger file than the bytes: nothing may be allocated for what only the length promises.
        for file_len in [bytes.len() as u64, 1 << 40, u64::MAX] {
            if let Ok(header) = parse(&bytes, file_len) {
                check(&header, file_len);
            }
        }
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0", &bytes[..]].concat();
        if let Ok(header) = parse(&bytes, bytes.len() as u64) {
            check(&header, bytes.len() as u64);
        }
    }
}

/// Through the file system, at every length.
#[test]
fn every_prefix_of_a_file() {
    use super::round_trip::Item;
    use forebay_infer::gguf::TensorType::{F32, Q8_0};
    let items = [Item::Str("name".into()), Item::Strings(vec![b"a".to_vec(), b"\xff".to_vec()]), Item::Bool(true)];
    let bytes = file(&items, &[(F32, 8, vec![]), (Q8_0, 1, vec![2])], 32);
    let data_end = parse(&bytes, bytes.len() as u64).expect("a valid file").tensors[1].end();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("cut.gguf");
    for at in 0..bytes.len() {
        std::fs::write(&path, &bytes[..at]).expect("written");
        let opened = Model::open(&path);
        assert_eq!(opened.is_ok(), at as u64 >= data_end, "cut at {at}");
        if let Err(e) = opened {
            assert_eq!(e.file(), Some(path.as_path()));
            let e = e.to_string();
            assert!(e.contains("needs the file to have") || e.contains("but the file has room for"), "{e}");
        }
    }
}

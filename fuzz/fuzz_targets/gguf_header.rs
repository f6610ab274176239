//! The GGUF header parser on arbitrary bytes: no panic, and what it accepts keeps its promises.
//!
//! ```sh
//! cargo test -p forebay-infer --test gguf -- --ignored fuzz_seeds   # writes fuzz/corpus/gguf_header
//! cargo +nightly fuzz run gguf_header -- -dict=fuzz/gguf.dict -malloc_limit_mb=64 -max_total_time=60
//! ```
#![no_main]

use forebay_infer::gguf::{ErrorKind, Header, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // As a whole file, and as the start of files that are far larger: then only the bytes at hand bound what is believed.
    for file_len in [bytes.len() as u64, 1 << 40, u64::MAX] {
        match parse(bytes, file_len) {
            Ok(header) => check(&header, file_len),
            Err(e) => {
                if let ErrorKind::Incomplete { needed, .. } = e.kind() {
                    assert!(*needed > bytes.len() as u64 && *needed <= file_len, "{e}");
                }
                assert!(e.to_string().len() < 600, "{e}");
            }
        }
    }
});

fn check(header: &Header, file_len: u64) {
    let mut spans = Vec::new();
    for t in &header.tensors {
        assert!((1..=4).contains(&t.dims.len()) && t.dims.iter().all(|d| *d > 0));
        let rows: u128 = t.dims[1..].iter().map(|d| u128::from(*d)).product();
        assert_eq!(u128::from(t.bytes), t.row_bytes() as u128 * rows);
        assert_eq!((t.offset - header.data_start) % u64::from(header.alignment), 0);
        spans.push((u128::from(t.offset), u128::from(t.offset) + u128::from(t.bytes)));
    }
    spans.sort_unstable();
    assert!(spans.iter().all(|s| s.1 <= u128::from(file_len)));
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0));

    let mut metadata = header.metadata.clone();
    assert_eq!(metadata.iter().count(), metadata.len());
    for (key, _) in metadata.iter() {
        if let Ok(strings) = metadata.strings(key) {
            assert_eq!(strings.len(), strings.clone().count());
            strings.utf8(key).for_each(drop);
        }
        metadata.i32s(key).map(Iterator::count).ok();
        metadata.f32s(key).map(Iterator::count).ok();
    }
    metadata.drop_arrays_over(3);
    assert_eq!(metadata.iter().count(), header.metadata.len());
}

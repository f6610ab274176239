//! Hand-made bad headers, and the exact words that they are refused with.

use forebay_infer::gguf::{ErrorKind, Model, parse};

/// Bytes of a header, field after field.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl Raw {
    /// A version 3 header up to its counts.
    fn header(tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }
    fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u8(self, v: u8) -> Raw {
        self.bytes(&[v])
    }
    fn u32(self, v: u32) -> Raw {
        self.bytes(&v.to_le_bytes())
    }
    fn u64(self, v: u64) -> Raw {
        self.bytes(&v.to_le_bytes())
    }
    fn str(self, s: impl AsRef<[u8]>) -> Raw {
        self.u64(s.as_ref().len() as u64).bytes(s.as_ref())
    }
    /// A key with a `u32`.
    fn number(self, key: &str, v: u32) -> Raw {
        self.str(key).u32(4).u32(v)
    }
    fn tensor(mut self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Raw {
        self = self.str(name).u32(dims.len() as u32);
        self = dims.iter().fold(self, |raw, d| raw.u64(*d));
        self.u32(ty).u64(offset)
    }
    fn zeros(self, n: usize) -> Raw {
        self.bytes(&vec![0; n])
    }
    /// What reading it says.
    fn error(self) -> String {
        parse(&self.0, self.0.len() as u64).expect_err("a bad header").to_string()
    }
}

#[track_caller]
fn refused(raw: Raw, expected: &str) {
    assert_eq!(raw.error(), expected);
}

const F32: u32 = 0;
const Q4_K: u32 = 12;

#[test]
fn what_is_no_gguf_file() {
    let raw = |b: &[u8]| Raw(b.to_vec());
    refused(raw(b""), "magic: needs the file to have 4 bytes, but it has 0 (at byte 0)");
    refused(raw(b"GGU"), "magic: needs the file to have 4 bytes, but it has 3 (at byte 0)");
    refused(raw(b"\x89PNG\r\n\x1a\n"), "not a GGUF file: it starts with \"\\x89PNG\" instead of \"GGUF\" (at byte 0)");
    refused(raw(b"GGUF\x03\0"), "version: needs the file to have 8 bytes, but it has 6 (at byte 4)");
    refused(raw(b"GGUF").u32(1), "GGUF version 1 is not supported (versions 2 and 3 are) (at byte 4)");
    refused(raw(b"GGUF").u32(4), "GGUF version 4 is not supported (versions 2 and 3 are) (at byte 4)");
    refused(raw(b"GGUF").u32(0), "GGUF version 0 is not supported (versions 2 and 3 are) (at byte 4)");
    refused(
        raw(b"GGUF\0\0\0\x03"),
        "a big-endian GGUF file (version 3): only little-endian files are supported (at byte 4)",
    );
}

#[test]
fn counts_that_lie() {
    refused(Raw(b"GGUF".to_vec()).u32(3).u64(1), "tensor_count is 1, but the file has room for 0 at most (at byte 8)");
    refused(
        Raw::header(u64::MAX, 0),
        "tensor_count is 18446744073709551615, but the file has room for 0 at most (at byte 8)",
    );
    refused(
        Raw::header(0, u64::MAX),
        "metadata_kv_count is 18446744073709551615, but the file has room for 0 at most (at byte 16)",
    );
    refused(Raw::header(0, 2).zeros(27), "metadata_kv_count is 2, but the file has room for 1 at most (at byte 16)");
    refused(Raw::header(2, 0).zeros(57), "tensor_count is 2, but the file has room for 1 at most (at byte 8)");
    refused(
        Raw::header(1 << 20, 0).zeros(34 << 20),
        "tensor_count: 1048576, more than the limit of 131072 (at byte 8)",
    );
    refused(
        Raw::header(0, 1).str("tokens").u32(9).u32(8).u64(u64::MAX).zeros(80),
        "array length of key \"tokens\" is 18446744073709551615, but the file has room for 10 at most (at byte 46)",
    );
    refused(
        Raw::header(0, 1).str("scores").u32(9).u32(6).u64(1 << 62).zeros(80),
        "array length of key \"scores\" is 4611686018427387904, but the file has room for 20 at most (at byte 46)",
    );
    refused(
        Raw::header(0, 1).str("bytes").u32(9).u32(0).u64(81).zeros(80),
        "array length of key \"bytes\" is 81, but the file has room for 80 at most (at byte 45)",
    );
}

#[test]
fn keys_and_values() {
    let one = || Raw::header(0, 1);
    refused(one().u64(0).zeros(20), "key 0: 0 bytes long, not 1 to 65535 (at byte 24)");
    refused(one().u64(65_536).zeros(70_000), "key 0: 65536 bytes long, not 1 to 65535 (at byte 24)");
    refused(one().u64(u64::MAX).zeros(20), "key 0: 18446744073709551615 bytes long, not 1 to 65535 (at byte 24)");
    refused(one().u64(100).zeros(20), "key 0: needs the file to have 132 bytes, but it has 52 (at byte 32)");
    refused(one().str(b"a\xffb").zeros(20), "key 0: not UTF-8: \"a\\xffb\" (at byte 32)");
    refused(one().str("general.name").u32(13).zeros(20), "key \"general.name\": unknown value type 13 (at byte 44)");
    refused(
        one().str("general.name").u32(8).u64(u64::MAX - 3).zeros(20),
        "value of key \"general.name\": needs the file to have 18446744073709551615 bytes, but it has 76 (at byte 56)",
    );
    refused(
        one().str("general.name").u32(8).str(b"caf\xe9").zeros(20),
        "key \"general.name\": value is not UTF-8: \"caf\\xe9\" (at byte 56)",
    );
    refused(one().str("flag").u32(7).u8(2).zeros(20), "key \"flag\": a bool of 2, not 0 or 1 (at byte 40)");
    refused(
        one().str("flags").u32(9).u32(7).u64(3).bytes(&[0, 1, 255]).zeros(20),
        "key \"flags\": a bool of 255, not 0 or 1 (at byte 55)",
    );
    refused(
        one().str("nested").u32(9).u32(9).u64(1).u32(4).u64(1).u32(7),
        "key \"nested\": an array of arrays, which no model has (at byte 42)",
    );
    refused(
        one().str("list").u32(9).u32(99).u64(1).u32(4).u64(1).u32(7),
        "key \"list\", array elements: unknown value type 99 (at byte 40)",
    );
    refused(
        one().str("tokens").u32(9).u32(8).u64(3).str("a").str("b").u64(50).zeros(20),
        "value of key \"tokens\", element 2: needs the file to have 130 bytes, but it has 100 (at byte 80)",
    );
    refused(
        Raw::header(0, 2).number("n", 1).number("n", 2),
        "key \"n\": a duplicate of the key at byte 32 (at byte 49)",
    );
    let escape = "\u{1b}[2J".to_owned() + &"x".repeat(1000);
    refused(
        one().str(&escape).u32(77).zeros(20),
        "key \"\\u{1b}[2Jxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" (924 bytes more): unknown value type 77 (at byte 1036)",
    );
}

#[test]
fn alignment() {
    let align = |v: u32| Raw::header(0, 1).number("general.alignment", v);
    refused(align(0), "key \"general.alignment\": 0 is not a power of two of at least 8 (at byte 53)");
    refused(align(4), "key \"general.alignment\": 4 is not a power of two of at least 8 (at byte 53)");
    refused(align(48), "key \"general.alignment\": 48 is not a power of two of at least 8 (at byte 53)");
    refused(
        Raw::header(0, 1).str("general.alignment").u32(10).u64(1 << 32),
        "key \"general.alignment\": not an integer that fits u32 (at byte 53)",
    );
    refused(
        Raw::header(0, 1).str("general.alignment").u32(8).str("32"),
        "key \"general.alignment\": expected an integer, found string (at byte 61)",
    );
}

#[test]
fn tensors() {
    let one = || Raw::header(1, 0);
    refused(one().u64(0).zeros(200), "name of tensor 0: 0 bytes long, not 1 to 1024 (at byte 24)");
    refused(one().u64(1025).zeros(2000), "name of tensor 0: 1025 bytes long, not 1 to 1024 (at byte 24)");
    refused(one().str(b"\xc3\x28").zeros(200), "name of tensor 0: not UTF-8: \"\\xc3(\" (at byte 32)");
    refused(one().tensor("x", &[], F32, 0).zeros(200), "tensor \"x\": 0 dimensions, not 1 to 4 (at byte 33)");
    refused(one().tensor("x", &[1; 5], F32, 0).zeros(200), "tensor \"x\": 5 dimensions, not 1 to 4 (at byte 33)");
    refused(one().tensor("x", &[4, 0], F32, 0).zeros(200), "tensor \"x\": dimension 1 of [4, 0] is 0 (at byte 37)");
    refused(
        one().tensor("x", &[1 << 32, 1 << 32], F32, 0).zeros(200),
        "tensor \"x\": shape [4294967296, 4294967296] has too many elements (at byte 37)",
    );
    refused(
        one().tensor("x", &[1 << 31, 1 << 31, 2], F32, 0).zeros(200),
        "tensor \"x\": shape [2147483648, 2147483648, 2] has too many elements (at byte 37)",
    );
    refused(
        one().tensor("x", &[1 << 62], F32, 0).zeros(200),
        "tensor \"x\": shape [4611686018427387904] of F32 has too many bytes (at byte 37)",
    );
    refused(
        one().tensor("x", &[128, 2], Q4_K, 0).zeros(200),
        "tensor \"x\": rows of shape [128, 2] are no multiple of the 256 elements of a Q4_K block (at byte 37)",
    );
    refused(
        one().tensor("x", &[1], 4, 0).zeros(200),
        "tensor \"x\": tensor type 4 (Q4_2) was taken out of the format; convert the model again (at byte 45)",
    );
    refused(
        one().tensor("x", &[1], 31, 0).zeros(200),
        "tensor \"x\": tensor type 31 (Q4_0_4_4) was taken out of the format; convert the model again (at byte 45)",
    );
    refused(one().tensor("x", &[1], 4711, 0).zeros(200), "tensor \"x\": unknown tensor type 4711 (at byte 45)");
    refused(
        one().tensor("x", &[1], F32, 16).zeros(200),
        "tensor \"x\": offset 16 is no multiple of the alignment 32 (at byte 49)",
    );
    refused(
        one().tensor("x", &[8, 2], F32, 32).zeros(91),
        "tensor \"x\" of 64 bytes at 96 + 32: needs the file to have 192 bytes, but it has 156 (at byte 57)",
    );
    refused(
        one().tensor("x", &[1], F32, u64::MAX - 31).zeros(200),
        "tensor \"x\" of 4 bytes at 64 + 18446744073709551584: needs the file to have 18446744073709551615 bytes, but it has 257 (at byte 49)",
    );
    let two = || Raw::header(2, 0);
    refused(
        two().tensor("x", &[8], F32, 0).tensor("x", &[8], F32, 32).zeros(200),
        "tensor \"x\": a duplicate of the tensor at byte 32 (at byte 65)",
    );
    refused(
        two().tensor("x", &[9], F32, 0).tensor("y", &[8], F32, 32).zeros(200),
        "tensor \"y\": bytes 128..160 overlap tensor \"x\" at 96..132 (at byte 82)",
    );
    refused(
        two().tensor("x", &[8], F32, 64).tensor("y", &[8], F32, 64).zeros(200),
        "tensor \"y\": bytes 160..192 overlap tensor \"x\" at 160..192 (at byte 82)",
    );
}

#[test]
fn incomplete_bytes_ask_for_more() {
    let raw = Raw::header(0, 1).str("general.name").u32(8).str("a name");
    let len = raw.0.len() as u64;
    let error = parse(&raw.0[..50], len).expect_err("incomplete");
    assert_eq!(error.to_string(), "value of key \"general.name\": needs the first 56 bytes of the file (at byte 48)");
    assert!(matches!(error.kind(), ErrorKind::Incomplete { needed: 56, .. }));
    assert_eq!(error.offset(), Some(48));
}

#[test]
fn a_header_beyond_the_limit_is_not_read() {
    // The bytes at hand are few: only the file claims to be large.
    let raw = Raw::header(0, 1).str("huge").u32(9).u32(0).u64(1 << 40).zeros(80);
    let error = parse(&raw.0, 1 << 41).expect_err("too long");
    assert_eq!(
        error.to_string(),
        "value of key \"huge\": makes the header 1099511627828 bytes long, more than the limit of 268435456 (at byte 52)"
    );
}

#[test]
fn an_offset_that_overflows_is_not_the_end_of_the_file() {
    let raw = Raw::header(1, 0).tensor("x", &[1], F32, u64::MAX - 31).zeros(200);
    let error = parse(&raw.0, u64::MAX).expect_err("no such place");
    assert_eq!(
        error.to_string(),
        "tensor \"x\" of 4 bytes at 64 + 18446744073709551584: needs the file to have 18446744073709551615 bytes, but it has 18446744073709551615 (at byte 49)"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let error = |name: &str| {
        let error = Model::open(dir.path().join(name)).expect_err("no model").to_string();
        error.replace(&format!("{}/", dir.path().display()), "")
    };
    std::fs::write(dir.path().join("empty.gguf"), b"").expect("written");
    std::fs::write(dir.path().join("text.gguf"), b"hello").expect("written");
    std::fs::create_dir(dir.path().join("folder.gguf")).expect("made");
    assert_eq!(error("none.gguf"), "none.gguf: cannot read the file: No such file or directory (os error 2)");
    assert_eq!(error("folder.gguf"), "folder.gguf: not a regular file");
    assert_eq!(error("empty.gguf"), "empty.gguf: magic: needs the file to have 4 bytes, but it has 0 (at byte 0)");
    assert_eq!(
        error("text.gguf"),
        "text.gguf: not a GGUF file: it starts with \"hell\" instead of \"GGUF\" (at byte 0)"
    );
}

//! What the writer writes, the reader reads.

use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{Model, TensorType, Value, parse};
use proptest::prelude::*;

/// A value to write.
#[derive(Debug, Clone)]
pub(super) enum Item {
    U8(u8),
    I64(i64),
    F32(f32),
    Bool(bool),
    Str(String),
    Strings(Vec<Vec<u8>>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    Bools(Vec<bool>),
}

pub(super) fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        any::<u8>().prop_map(Item::U8),
        any::<i64>().prop_map(Item::I64),
        any::<f32>().prop_map(Item::F32),
        any::<bool>().prop_map(Item::Bool),
        ".{0,20}".prop_map(Item::Str),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..8).prop_map(Item::Strings),
        prop::collection::vec(any::<f32>(), 0..8).prop_map(Item::F32s),
        prop::collection::vec(any::<i32>(), 0..8).prop_map(Item::I32s),
        prop::collection::vec(any::<bool>(), 0..8).prop_map(Item::Bools),
    ]
}

pub(super) fn put(w: &mut Writer, key: &str, item: &Item) {
    match item {
        Item::U8(v) => w.scalar(key, *v),
        Item::I64(v) => w.scalar(key, *v),
        Item::F32(v) => w.scalar(key, *v),
        Item::Bool(v) => w.scalar(key, *v),
        Item::Str(v) => w.str(key, v),
        Item::Strings(v) => w.strings(key, v),
        Item::F32s(v) => w.array(key, v),
        Item::I32s(v) => w.array(key, v),
        Item::Bools(v) => w.array(key, v),
    };
}

fn same(found: Value<'_>, item: &Item) -> bool {
    match (found, item) {
        (Value::U8(a), Item::U8(b)) => a == *b,
        (Value::I64(a), Item::I64(b)) => a == *b,
        (Value::F32(a), Item::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::Bool(a), Item::Bool(b)) => a == *b,
        (Value::String(a), Item::Str(b)) => a == b,
        (Value::Array(a), Item::Strings(b)) => a.strings().expect("strings").eq(b),
        (Value::Array(a), item) => {
            let values = a.values();
            match item {
                Item::F32s(b) => values.eq_by_bits(b.iter().map(|v| Value::F32(*v))),
                Item::I32s(b) => values.eq_by_bits(b.iter().map(|v| Value::I32(*v))),
                Item::Bools(b) => values.eq_by_bits(b.iter().map(|v| Value::Bool(*v))),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Equality that holds for NaN too.
trait EqByBits<'a>: Iterator<Item = Value<'a>> + Sized {
    fn eq_by_bits(self, other: impl Iterator<Item = Value<'a>>) -> bool {
        let bits = |v: Value<'a>| if let Value::F32(f) = v { Value::U32(f.to_bits()) } else { v };
        self.map(bits).eq(other.map(bits))
    }
}
impl<'a, I: Iterator<Item = Value<'a>>> EqByBits<'a> for I {}

/// A tensor's type, blocks in a row and the other dimensions.
pub(super) type Shape = (TensorType, u64, Vec<u64>);

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    (prop::sample::select(&TensorType::ALL[..]), 1..4u64, prop::collection::vec(1..4u64, 0..4))
}

/// A file of these parts; tensor `i` is named `i` and filled with `i`.
pub(super) fn file(items: &[Item], shapes: &[Shape], alignment: u32) -> Vec<u8> {
    let mut w = Writer::new();
    if alignment != 32 {
        w.alignment(alignment);
    }
    for (i, item) in items.iter().enumerate() {
        put(&mut w, &format!("key.{i}"), item);
    }
    let mut data = Vec::new();
    for (i, (ty, blocks, rest)) in shapes.iter().enumerate() {
        let mut dims = vec![blocks * ty.block_len() as u64];
        dims.extend(rest);
        w.tensor(&format!("{i}"), *ty, &dims);
        data.push(vec![i as u8; *blocks as usize * ty.block_bytes() * rest.iter().product::<u64>() as usize]);
    }
    w.to_bytes(data).expect("a valid file")
}

proptest! {
    #[test]
    fn random_files(
        items in prop::collection::vec(item(), 0..12),
        shapes in prop::collection::vec(shape(), 0..6),
        alignment in prop::sample::select(vec![8, 16, 32, 64, 4096]),
    ) {
        let bytes = file(&items, &shapes, alignment);
        let header = parse(&bytes, bytes.len() as u64).expect("what was written");
        prop_assert_eq!(header.alignment, alignment);
        for (i, item) in items.iter().enumerate() {
            let found = header.metadata.get(&format!("key.{i}")).expect("a key that was written");
            prop_assert!(same(found, item), "{:?} for {:?}", found, item);
        }
        prop_assert_eq!(header.tensors.len(), shapes.len());
        for (i, (tensor, (ty, blocks, rest))) in header.tensors.iter().zip(&shapes).enumerate() {
            prop_assert_eq!(tensor.ty, *ty);
            prop_assert_eq!(tensor.cols(), *blocks as usize * ty.block_len());
            prop_assert_eq!(tensor.rows() as u64, rest.iter().product::<u64>());
            prop_assert_eq!(tensor.bytes, (tensor.row_bytes() * tensor.rows()) as u64);
            prop_assert_eq!(tensor.offset % u64::from(alignment), 0);
            let data = &bytes[tensor.offset as usize..tensor.end() as usize];
            prop_assert!(data.iter().all(|b| *b == i as u8));
        }
        // A copy key by key is the same file.
        let mut copy = Writer::new();
        for (key, value) in header.metadata.iter().filter(|(key, _)| *key != "general.alignment") {
            copy.value(key, value).expect("nothing was dropped");
        }
        let copy = copy.to_bytes::<Vec<u8>>([]).expect("a valid file");
        let copied = parse(&copy, copy.len() as u64).expect("what was written").metadata;
        for (i, item) in items.iter().enumerate() {
            let found = copied.get(&format!("key.{i}")).expect("copied");
            prop_assert!(same(found, item));
        }
    }
}

#[test]
fn a_header_longer_than_the_first_read() {
    let tokens: Vec<String> = (0..100_000).map(|i| format!("token {i}")).collect();
    let mut w = Writer::new();
    w.strings("tokens", &tokens).tensor("x", TensorType::Q8_0, &[64, 3]);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    let bytes = w.to_bytes([[7; 204]]).expect("a valid file");
    std::fs::write(&path, &bytes).expect("written");
    let mut model = Model::open(&path).expect("what was written");
    assert_eq!(model.file_len(0), Some(bytes.len() as u64));
    assert!(model.metadata.strings("tokens").expect("strings").eq(tokens.iter().map(String::as_bytes)));
    let x = model.tensor("x").expect("a tensor that was written").clone();
    assert_eq!((x.cols(), x.rows(), x.row_bytes(), x.bytes), (64, 3, 68, 204));
    assert_eq!(bytes[x.offset as usize..x.end() as usize], [7; 204]);
    assert!(model.metadata.drop_arrays_over(0) > 1_000_000);
    let error = model.metadata.strings("tokens").map(drop).expect_err("dropped");
    assert_eq!(error.file(), Some(path.as_path()));
}

#[test]
fn version_2_is_read() {
    let mut bytes = file(&[Item::U8(1)], &[(TensorType::F32, 8, vec![])], 32);
    bytes[4] = 2;
    let header = parse(&bytes, bytes.len() as u64).expect("version 2");
    assert_eq!((header.version, header.tensors.len()), (2, 1));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let refused = |fill: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new();
        fill(&mut w);
        w.begin(Vec::new()).expect_err("not a valid header").to_string()
    };
    assert_eq!(
        refused(&|w| _ = w.str("a", "").str("a", "")),
        "key \"a\": a duplicate of the key at byte 32 (at byte 53)"
    );
    assert_eq!(refused(&|w| _ = w.str("", "")), "key 0: 0 bytes long, not 1 to 65535 (at byte 24)");
    assert_eq!(
        refused(&|w| _ = w.alignment(0).tensor("x", TensorType::F32, &[1])),
        "tensor \"x\": lies beyond 16 EiB, or the alignment is 0"
    );
    assert_eq!(
        refused(&|w| _ = w.alignment(12)),
        "key \"general.alignment\": 12 is not a power of two of at least 8 (at byte 53)"
    );
    assert_eq!(
        refused(&|w| _ = w.scalar("general.alignment", 64u32)),
        "key \"general.alignment\": 64, but the tensors are aligned to 32"
    );
    assert_eq!(
        refused(&|w| _ = w.tensor("x", TensorType::Q4_K, &[255])),
        "tensor \"x\": rows of shape [255] are no multiple of the 256 elements of a Q4_K block"
    );
    assert_eq!(refused(&|w| _ = w.tensor("x", TensorType::F32, &[])), "tensor \"x\": 0 dimensions, not 1 to 4");
    assert_eq!(
        refused(&|w| _ = w.tensor("x", TensorType::F32, &[1]).tensor("x", TensorType::F32, &[1])),
        "tensor \"x\": a duplicate of the tensor at byte 32 (at byte 65)"
    );
}

#[test]
fn data_in_pieces_and_of_the_wrong_length() {
    let mut w = Writer::new();
    w.tensor("a", TensorType::F32, &[3]).tensor("b", TensorType::I8, &[5]);
    let whole = w.to_bytes([&[1u8; 12][..], &[2; 5]]).expect("a valid file");
    let mut body = w.begin(Vec::new()).expect("a valid header");
    for piece in [&[1u8; 5][..], &[1; 7], &[2; 1], &[], &[2; 4]] {
        body.data(piece).expect("fits");
    }
    assert_eq!(body.finish().expect("complete"), whole);
    assert_eq!(whole.len() % 32, 0);

    let mut body = w.begin(Vec::new()).expect("a valid header");
    assert_eq!(body.data(&[0; 13]).expect_err("too long").to_string(), "13 bytes for a tensor that lacks 12");
    body.data(&[0; 12]).expect("fits");
    assert_eq!(body.finish().expect_err("one is missing").to_string(), "1 tensors are not written");
    let mut body = Writer::new().begin(Vec::new()).expect("a valid header");
    assert_eq!(body.data(&[0]).expect_err("no tensor").to_string(), "1 bytes behind the last tensor");
}

/// Small valid files for `fuzz/fuzz_targets/gguf_header.rs` to start from; run it by name.
#[test]
#[ignore = "writes fuzz/corpus/gguf_header"]
fn fuzz_seeds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/gguf_header");
    std::fs::create_dir_all(folder).expect("made");
    let items = [
        Item::U8(1),
        Item::I64(-1),
        Item::F32(0.5),
        Item::Bool(true),
        Item::Str("text".into()),
        Item::Strings(vec![b"a".to_vec(), vec![], vec![0xff]]),
        Item::F32s(vec![1.0, 2.0]),
        Item::I32s(vec![1, -1]),
        Item::Bools(vec![true, false]),
    ];
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(format!("{folder}/{name}"), bytes).expect("written");
    write("empty", file(&[], &[], 32));
    write("keys", file(&items, &[], 32));
    for (i, item) in items.iter().enumerate() {
        write(&format!("key-{i}"), file(std::slice::from_ref(item), &[(TensorType::Q8_0, 1, vec![2])], 8));
    }
    for ty in TensorType::ALL {
        write(&format!("{ty}"), file(&items[..1], &[(ty, 1, vec![]), (TensorType::F32, 3, vec![2, 1])], 32));
    }
    write("dimensions", file(&items[4..6], &[(TensorType::Q4_K, 1, vec![2, 3, 1]), (TensorType::I8, 7, vec![3])], 64));
}

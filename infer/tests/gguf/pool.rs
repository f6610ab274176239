//! Tensors that share bytes.

use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{TensorType, parse};

fn writer() -> Writer {
    let mut writer = Writer::new();
    writer.tensor("own", TensorType::F32, &[8]);
    writer
}

#[test]
fn tensors_in_the_pool_may_overlap_and_its_bytes_are_written_once() {
    let mut writer = writer();
    writer.pool(96);
    writer.shared_tensor("x", TensorType::F32, &[8, 2], 0).shared_tensor("y", TensorType::F32, &[8, 2], 32);
    let bytes = writer.to_bytes([vec![1; 32], vec![2; 96]]).unwrap();
    let header = parse(&bytes, bytes.len() as u64).unwrap();
    let place = |i: usize| (header.tensors[i].offset - header.data_start, header.tensors[i].bytes);
    assert_eq!([0, 1, 2].map(place), [(0, 32), (32, 64), (64, 64)]);
    assert_eq!(bytes.len() as u64, header.data_start + 128);
    assert_eq!(header.pool.map(|pool| (pool.offset - header.data_start, pool.bytes)), Some((32, 96)));
}

#[test]
fn a_tensor_behind_the_end_of_the_pool_is_not_written() {
    let mut writer = writer();
    writer.pool(96).shared_tensor("x", TensorType::F32, &[8, 2], 64);
    let error = writer.to_bytes([vec![1; 32], vec![2; 96]]).unwrap_err();
    assert_eq!(error.to_string(), "tensor \"x\": ends behind the pool");
}

/// A header whose keys say something else about the pool than its writer meant.
fn refused(keys: &[(&str, u64)]) -> String {
    let mut writer = writer();
    keys.iter().for_each(|(key, value)| {
        writer.scalar(key, *value);
    });
    writer.tensor("x", TensorType::F32, &[8]);
    writer.to_bytes([[0u8; 32]; 2]).unwrap_err().to_string()
}

#[test]
fn pools_that_cannot_be() {
    let (offset, bytes) = ("forebay.pool.offset", "forebay.pool.bytes");
    assert_eq!(refused(&[(offset, 0)]), "key \"forebay.pool.bytes\": missing, but there is forebay.pool.offset");
    assert_eq!(refused(&[(bytes, 8)]), "key \"forebay.pool.offset\": missing, but there is forebay.pool.bytes");
    assert_eq!(refused(&[(offset, u64::MAX), (bytes, 8)]), "key \"forebay.pool.bytes\": the pool ends beyond 16 EiB");
    assert_eq!(refused(&[(offset, 16), (bytes, 32)]), "tensor \"own\": lies partly in the pool of shared bytes");
}

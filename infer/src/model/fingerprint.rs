//! Which model it is.

use forebay_pager::{Clock, FileId, PageSpec, Pager, Storage};
use sha2::{Digest as _, Sha256};

use crate::gguf;

/// Bytes of each tensor that are looked at.
const SAMPLE: u64 = 4096;

/// Tells models from one another: a digest of the header and of some bytes of each tensor. Those are needed because models that
/// were trained further often have the header of the model that they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the model whose header is `model` and whose files `pager` reads.
    ///
    /// # Errors
    /// When a read fails.
    pub fn of<S: Storage, C: Clock>(
        model: &gguf::Model,
        pager: &mut Pager<S, C>,
    ) -> Result<Self, forebay_pager::Error> {
        let mut digest = Sha256::new();
        digest.update(model.metadata.encoded());
        for file in 0..model.files.len() {
            digest.update(model.file_len(file).unwrap_or(0).to_le_bytes());
        }
        let mut samples = Vec::with_capacity(model.tensors.len());
        for tensor in &model.tensors {
            digest.update(format!("{} {} {:?} {} ", tensor.name, tensor.ty, tensor.dims, tensor.offset));
            let len = tensor.bytes.min(SAMPLE);
            let offset = tensor.offset + (tensor.bytes - len) / 2;
            samples.push(PageSpec { file: FileId(tensor.file), offset, len: len as u32 });
        }
        // They arrive in any order.
        let mut found = vec![[0; 32]; samples.len()];
        pager.gather(&samples, |i, bytes| found[i] = Sha256::digest(bytes).into())?;
        digest.update(found.as_flattened());
        Ok(Fingerprint(digest.finalize().into()))
    }

    /// The digest.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

//! What a policy is called: a digest that anyone can find again from its files.
//!
//! A model folder is named by its folder digest, a GGUF file by its own and that of a tokenizer given
//! with it. An adapter over the first policy is named by the digest of the first policy, the shape of
//! the adapter and its tensors.

use std::path::Path;

use seal_model::{Adapter, BaseModel, DecoderConfig, folder_digest};
use seal_protocol::{ADAPTER_MODEL_FILE, Digest};
use seal_trust::{digest_of, sha256};
use serde_json::json;

use crate::error::TeacherError;
use crate::first_policy::PolicySource;

/// The digest that names the policy in `folder`, be it a model or an adapter over the first one.
///
/// # Errors
/// A folder that is neither, or an adapter over another policy.
pub fn policy_digest(folder: &Path, first: &PolicySource) -> Result<Digest, TeacherError> {
    if !is_adapter(folder) {
        return Ok(Digest::from_bytes(folder_digest(folder)?));
    }
    let digest = first.digest()?;
    of_adapter(&digest, &adapter_in(folder, &first.shape()?, &digest)?)
}

/// Whether the policy in `folder` is an adapter.
pub(crate) fn is_adapter(folder: &Path) -> bool {
    folder.join(ADAPTER_MODEL_FILE).is_file()
}

/// The adapter in `folder` over the policy of this digest and shape.
pub(crate) fn adapter_in(
    folder: &Path,
    config: &DecoderConfig,
    first: &Digest,
) -> Result<Adapter, TeacherError> {
    let damaged = |reason| TeacherError::Damaged { path: folder.to_owned(), reason };
    Adapter::load_peft_over(folder, config, first.as_bytes())
        .map_err(|error| damaged(error.to_string()))
}

/// The digest of the first policy with an adapter: of what shape it is, and of its tensors.
pub(crate) fn of_adapter(first: &Digest, adapter: &Adapter) -> Result<Digest, TeacherError> {
    let (config, tensors) = adapter.to_peft_bytes(as_base(first))?;
    let parts = [sha256(&config), sha256(&tensors)];
    Ok(digest_of(&json!({ "policy": first, "adapter": parts }))?)
}

/// The first policy as adapters over it name it: the same wherever its folder lies.
pub(crate) fn as_base(first: &Digest) -> BaseModel<'_> {
    BaseModel { name: "policy", revision: None, digest: first.as_bytes() }
}

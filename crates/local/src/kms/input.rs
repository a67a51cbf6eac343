//! What clients send: the members of each operation that are understood here.
//! Others (tags, policies, grant tokens) change nothing about a key that is only
//! used locally, and are passed over.

use std::collections::BTreeMap;

use cloakroom_jose::json;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    error::KmsError,
    key::{Blob, KeySpec, KeyUsage, Message, SigningAlgorithm},
};

/// What KMS takes as a message or a plaintext in one call.
const MESSAGE_LIMIT: usize = 4096;

/// Reads an input. The error of serde would quote the value, so it is dropped.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, KmsError> {
    json::from_slice(body).map_err(|error| match error {
        json::Error::Structure => {
            KmsError::Validation("a member is missing, or its value is not taken")
        }
        _ => KmsError::Serialization,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyInput {
    pub(super) key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateKeyInput {
    pub(super) key_spec: Option<KeySpec>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateAliasInput {
    pub(super) alias_name: String,
    pub(super) target_key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAliasesInput {
    pub(super) key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScheduleInput {
    pub(super) key_id: String,
    pub(super) pending_window_in_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SignInput {
    pub(super) key_id: String,
    pub(super) message: Blob,
    #[serde(default)]
    pub(super) message_type: MessageType,
    pub(super) signing_algorithm: SigningAlgorithm,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VerifyInput {
    pub(super) key_id: String,
    pub(super) message: Blob,
    #[serde(default)]
    pub(super) message_type: MessageType,
    pub(super) signature: Blob,
    pub(super) signing_algorithm: SigningAlgorithm,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MessageType {
    #[default]
    Raw,
    Digest,
}

impl MessageType {
    pub(super) fn read(self, message: &[u8]) -> Result<Message<'_>, KmsError> {
        let message = in_limit(message)?;
        Ok(match self {
            Self::Raw => Message::Raw(message),
            Self::Digest => Message::Digest(message),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateMacInput {
    pub(super) key_id: String,
    pub(super) message: Blob,
    pub(super) mac_algorithm: MacAlgorithm,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VerifyMacInput {
    pub(super) key_id: String,
    pub(super) message: Blob,
    pub(super) mac: Blob,
    pub(super) mac_algorithm: MacAlgorithm,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) enum MacAlgorithm {
    #[serde(rename = "HMAC_SHA_256")]
    HmacSha256,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EncryptInput {
    pub(super) key_id: String,
    pub(super) plaintext: Blob,
    #[serde(default)]
    pub(super) encryption_context: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) encryption_algorithm: EncryptionAlgorithm,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DecryptInput {
    pub(super) key_id: Option<String>,
    pub(super) ciphertext_blob: Blob,
    #[serde(default)]
    pub(super) encryption_context: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) encryption_algorithm: EncryptionAlgorithm,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
pub(super) enum EncryptionAlgorithm {
    #[default]
    #[serde(rename = "SYMMETRIC_DEFAULT")]
    SymmetricDefault,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GeneratePairInput {
    pub(super) key_id: String,
    pub(super) key_pair_spec: KeySpec,
    #[serde(default)]
    pub(super) encryption_context: BTreeMap<String, String>,
}

pub(super) fn in_limit(message: &[u8]) -> Result<&[u8], KmsError> {
    if message.is_empty() || message.len() > MESSAGE_LIMIT {
        return Err(KmsError::Validation("1 to 4096 bytes are taken"));
    }
    Ok(message)
}

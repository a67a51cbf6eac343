//! An AWS KMS endpoint with real cryptography, for local mode and tests.
//!
//! It speaks the KMS JSON protocol, so that the system runs its ordinary
//! adapter (`aws-sdk-kms`) against it and nothing is faked but the place where
//! the keys live. It must never know what the keys are for: no names, tokens or
//! claims of the system appear here.
//!
//! Start at [`KmsEndpoint::serve_on`]; `key` is the cryptography, `store` the
//! keys and their file, `http` and `input` the protocol. Only the operations that
//! the system or its tooling calls are here. Signatures of requests (SigV4) are
//! not verified; a request without any is refused, since a client that forgot to
//! sign fails on AWS.

mod error;
mod http;
mod input;
mod key;
mod store;
#[cfg(test)]
mod tests;

use std::{fmt, io, path::Path, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, routing::post};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use self::error::{KmsError, OpenError};
use self::{
    input::{
        CreateAliasInput, CreateKeyInput, DecryptInput, EncryptInput, EncryptionAlgorithm,
        GenerateMacInput, GeneratePairInput, KeyInput, ListAliasesInput, MacAlgorithm,
        ScheduleInput, SignInput, VerifyInput, VerifyMacInput, in_limit, parse,
    },
    key::{Blob, KeyMaterial, KeySpec, KeyUsage},
    store::{ACCOUNT, ARN_PREFIX, Key, KeyState, Store, is_alias, random_uuid},
};
use crate::clock::unix_now;

/// The largest request, a 6,144-byte ciphertext in base64 with a context, is
/// far below this.
const BODY_LIMIT: usize = 64 * 1024;

/// The endpoint: keys, and the KMS protocol over them.
pub struct KmsEndpoint {
    store: Store,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl KmsEndpoint {
    /// Makes an endpoint whose keys are gone when it is dropped.
    pub fn in_memory() -> Self {
        Self {
            store: Store::in_memory(),
            now: Box::new(unix_now),
        }
    }

    /// Opens the key file at `path`, and creates it if there is none.
    ///
    /// The file holds private keys in the clear; it is made readable by its
    /// owner alone.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or created, is open to others, or does not
    /// hold keys as this type writes them.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            store: Store::open(path)?,
            now: Box::new(unix_now),
        })
    }

    /// The KMS protocol: `POST /`.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", post(http::serve))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self)
    }

    /// Serves the protocol on a listener, which should be on a loopback address.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve_on(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    /// Creates a key with the usage its spec implies, and returns its ARN.
    ///
    /// # Errors
    ///
    /// When the spec is unknown, or the key cannot be made or stored.
    pub fn create_key(&self, spec: &str) -> Result<String, KmsError> {
        let spec = parse_spec(spec)?;
        let key = self.new_key(spec, spec.usual_usage(), String::new())?;
        self.store.update((self.now)(), |state| state.add(key))
    }

    /// Returns the ARN of the key behind an alias (`alias/…`), and creates both
    /// if the alias is new: how a system with a data directory finds its keys
    /// again.
    ///
    /// # Errors
    ///
    /// As [`create_key`](Self::create_key); also when the alias already names a
    /// key of another spec.
    pub fn ensure_key(&self, alias: &str, spec: &str) -> Result<String, KmsError> {
        let spec = parse_spec(spec)?;
        match self.find(alias) {
            Ok(key) if key.spec == spec => return Ok(key.arn()),
            Ok(_) => return Err(KmsError::AlreadyExists),
            Err(KmsError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let key = self.new_key(spec, spec.usual_usage(), String::new())?;
        self.store.update((self.now)(), |state| {
            let id = key.id.clone();
            let arn = state.add(key)?;
            state.add_alias(alias, id)?;
            Ok(arn)
        })
    }

    fn new_key(
        &self,
        spec: KeySpec,
        usage: KeyUsage,
        description: String,
    ) -> Result<Key, KmsError> {
        Ok(Key {
            id: random_uuid()?,
            spec,
            usage,
            state: KeyState::Enabled,
            created_at: (self.now)(),
            delete_at: None,
            description,
            // Outside of the store's lock: an RSA key takes a while.
            material: Arc::new(KeyMaterial::generate(spec)?),
        })
    }

    fn dispatch(&self, operation: &str, body: &[u8]) -> Result<Value, KmsError> {
        match operation {
            "CreateAlias" => self.create_alias(&parse(body)?),
            "CreateKey" => self.create(parse(body)?),
            "Decrypt" => self.decrypt(&parse(body)?),
            "DescribeKey" => self.describe(&parse(body)?),
            "DisableKey" => self.switch(&parse(body)?, KeyState::Disabled),
            "EnableKey" => self.switch(&parse(body)?, KeyState::Enabled),
            "Encrypt" => self.encrypt(&parse(body)?),
            "GenerateDataKeyPairWithoutPlaintext" => self.generate_pair(&parse(body)?),
            "GenerateMac" => self.generate_mac(&parse(body)?),
            "GetPublicKey" => self.public_key(&parse(body)?),
            "ListAliases" => self.list_aliases(&parse(body)?),
            "ListKeys" => Ok(self.list_keys()),
            "ScheduleKeyDeletion" => self.schedule_deletion(&parse(body)?),
            "Sign" => self.sign(&parse(body)?),
            "Verify" => self.verify(&parse(body)?),
            "VerifyMac" => self.verify_mac(&parse(body)?),
            _ => Err(KmsError::UnknownOperation),
        }
    }

    fn create(&self, input: CreateKeyInput) -> Result<Value, KmsError> {
        let spec = input.key_spec.unwrap_or(KeySpec::SymmetricDefault);
        // As on AWS: without a usage it is ENCRYPT_DECRYPT, which only the
        // symmetric spec may leave unsaid.
        let usage = input.key_usage.unwrap_or(KeyUsage::EncryptDecrypt);
        if usage != spec.usual_usage() {
            return Err(match (spec, input.key_usage) {
                (
                    KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096,
                    Some(KeyUsage::EncryptDecrypt),
                ) => KmsError::UnsupportedOperation,
                _ => KmsError::Validation("KeyUsage does not fit the KeySpec"),
            });
        }
        let key = self.new_key(spec, usage, input.description.unwrap_or_default())?;
        let metadata = metadata(&key);
        self.store.update((self.now)(), |state| state.add(key))?;
        Ok(json!({ "KeyMetadata": metadata }))
    }

    fn describe(&self, input: &KeyInput) -> Result<Value, KmsError> {
        Ok(json!({ "KeyMetadata": metadata(&self.find(&input.key_id)?) }))
    }

    fn list_keys(&self) -> Value {
        let keys: Vec<Value> = self.store.read(|state| {
            state
                .keys((self.now)())
                .map(|key| json!({ "KeyId": key.id, "KeyArn": key.arn() }))
                .collect()
        });
        json!({ "Keys": keys, "Truncated": false })
    }

    fn create_alias(&self, input: &CreateAliasInput) -> Result<Value, KmsError> {
        if is_alias(&input.target_key_id) {
            return Err(KmsError::Validation("TargetKeyId must not be an alias"));
        }
        let now = (self.now)();
        self.store.update(now, |state| {
            let key = state.find(&input.target_key_id, now)?;
            if key.state == KeyState::PendingDeletion {
                return Err(KmsError::InvalidState);
            }
            let id = key.id.clone();
            state.add_alias(&input.alias_name, id)
        })?;
        Ok(json!({}))
    }

    fn list_aliases(&self, input: &ListAliasesInput) -> Result<Value, KmsError> {
        let only = match &input.key_id {
            Some(name) => Some(self.find(name)?.id),
            None => None,
        };
        let aliases: Vec<Value> = self.store.read(|state| {
            state
                .aliases()
                .filter(|(_, id)| only.as_deref().is_none_or(|only| only == *id))
                .map(|(name, id)| {
                    json!({
                        "AliasName": name,
                        "AliasArn": format!("{ARN_PREFIX}{name}"),
                        "TargetKeyId": id,
                    })
                })
                .collect()
        });
        Ok(json!({ "Aliases": aliases, "Truncated": false }))
    }

    fn public_key(&self, input: &KeyInput) -> Result<Value, KmsError> {
        let key = self.find_enabled(&input.key_id)?;
        let Some(spki) = key.material.public_key()? else {
            return Err(KmsError::UnsupportedOperation);
        };
        Ok(json!({
            "KeyId": key.arn(),
            "PublicKey": Blob::new(spki),
            "KeySpec": key.spec,
            "CustomerMasterKeySpec": key.spec,
            "KeyUsage": key.usage,
            "SigningAlgorithms": key.spec.signing_algorithms(),
        }))
    }

    fn sign(&self, input: &SignInput) -> Result<Value, KmsError> {
        let key = self.find_for(&input.key_id, KeyUsage::SignVerify)?;
        let message = input.message_type.read(input.message.expose())?;
        let signature = key.material.sign(input.signing_algorithm, message)?;
        Ok(json!({
            "KeyId": key.arn(),
            "Signature": Blob::new(signature),
            "SigningAlgorithm": input.signing_algorithm,
        }))
    }

    fn verify(&self, input: &VerifyInput) -> Result<Value, KmsError> {
        let key = self.find_for(&input.key_id, KeyUsage::SignVerify)?;
        let message = input.message_type.read(input.message.expose())?;
        key.material
            .verify(input.signing_algorithm, message, input.signature.expose())?;
        Ok(json!({
            "KeyId": key.arn(),
            "SignatureValid": true,
            "SigningAlgorithm": input.signing_algorithm,
        }))
    }

    fn generate_mac(&self, input: &GenerateMacInput) -> Result<Value, KmsError> {
        let key = self.find_for(&input.key_id, KeyUsage::GenerateVerifyMac)?;
        let mac = key.material.mac(in_limit(input.message.expose())?)?;
        Ok(json!({
            "KeyId": key.arn(),
            "Mac": Blob::new(mac),
            "MacAlgorithm": input.mac_algorithm,
        }))
    }

    fn verify_mac(&self, input: &VerifyMacInput) -> Result<Value, KmsError> {
        let key = self.find_for(&input.key_id, KeyUsage::GenerateVerifyMac)?;
        key.material
            .verify_mac(in_limit(input.message.expose())?, input.mac.expose())?;
        Ok(json!({
            "KeyId": key.arn(),
            "MacValid": true,
            "MacAlgorithm": input.mac_algorithm,
        }))
    }

    fn encrypt(&self, input: &EncryptInput) -> Result<Value, KmsError> {
        let key = self.find_for(&input.key_id, KeyUsage::EncryptDecrypt)?;
        in_limit(input.plaintext.expose())?;
        let sealed = key
            .material
            .seal(&key.id, &input.encryption_context, &input.plaintext)?;
        Ok(json!({
            "KeyId": key.arn(),
            "CiphertextBlob": Blob::new(sealed),
            "EncryptionAlgorithm": input.encryption_algorithm,
        }))
    }

    fn decrypt(&self, input: &DecryptInput) -> Result<Value, KmsError> {
        let sealed_by = key::sealed_by(input.ciphertext_blob.expose())?;
        let key = match &input.key_id {
            Some(name) => self.find_for(name, KeyUsage::EncryptDecrypt)?,
            None => self.find_for(&sealed_by, KeyUsage::EncryptDecrypt)?,
        };
        if key.id != sealed_by {
            return Err(KmsError::IncorrectKey);
        }
        let plaintext =
            key.material
                .open(&key.id, &input.encryption_context, &input.ciphertext_blob)?;
        Ok(json!({
            "KeyId": key.arn(),
            "Plaintext": plaintext,
            "EncryptionAlgorithm": input.encryption_algorithm,
        }))
    }

    fn generate_pair(&self, input: &GeneratePairInput) -> Result<Value, KmsError> {
        if !matches!(
            input.key_pair_spec,
            KeySpec::Rsa2048
                | KeySpec::Rsa3072
                | KeySpec::Rsa4096
                | KeySpec::EccNistP256
                | KeySpec::EccEdwards25519
        ) {
            return Err(KmsError::UnsupportedOperation);
        }
        let key = self.find_for(&input.key_id, KeyUsage::EncryptDecrypt)?;
        let pair = KeyMaterial::generate(input.key_pair_spec)?;
        let public = pair.public_key()?.ok_or(KmsError::Crypto)?;
        let sealed = key
            .material
            .seal(&key.id, &input.encryption_context, pair.stored())?;
        Ok(json!({
            "KeyId": key.arn(),
            "KeyPairSpec": input.key_pair_spec,
            "PublicKey": Blob::new(public),
            "PrivateKeyCiphertextBlob": Blob::new(sealed),
        }))
    }

    fn switch(&self, input: &KeyInput, to: KeyState) -> Result<Value, KmsError> {
        let now = (self.now)();
        self.store.update(now, |state| {
            let key = state.find_to_manage(&input.key_id, now)?;
            key.state = to;
            Ok(())
        })?;
        Ok(json!({}))
    }

    fn schedule_deletion(&self, input: &ScheduleInput) -> Result<Value, KmsError> {
        let days = input.pending_window_in_days.unwrap_or(30);
        if !(7..=30).contains(&days) {
            return Err(KmsError::Validation(
                "PendingWindowInDays must be from 7 to 30",
            ));
        }
        let now = (self.now)();
        let delete_at = now + u64::from(days) * 86_400;
        let arn = self.store.update(now, |state| {
            let key = state.find_to_manage(&input.key_id, now)?;
            key.state = KeyState::PendingDeletion;
            key.delete_at = Some(delete_at);
            Ok(key.arn())
        })?;
        Ok(json!({
            "KeyId": arn,
            "DeletionDate": delete_at,
            "KeyState": KeyState::PendingDeletion,
            "PendingWindowInDays": days,
        }))
    }

    fn find(&self, name: &str) -> Result<Key, KmsError> {
        let now = (self.now)();
        self.store.read(|state| state.find(name, now).cloned())
    }

    fn find_enabled(&self, name: &str) -> Result<Key, KmsError> {
        let key = self.find(name)?;
        match key.state {
            KeyState::Enabled => Ok(key),
            KeyState::Disabled => Err(KmsError::Disabled),
            KeyState::PendingDeletion => Err(KmsError::InvalidState),
        }
    }

    fn find_for(&self, name: &str, usage: KeyUsage) -> Result<Key, KmsError> {
        let key = self.find_enabled(name)?;
        if key.usage == usage {
            Ok(key)
        } else {
            Err(KmsError::InvalidKeyUsage)
        }
    }
}

impl fmt::Debug for KmsEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsEndpoint").finish_non_exhaustive()
    }
}

/// What DescribeKey tells: everything about a key but the key.
fn metadata(key: &Key) -> Value {
    let mut metadata = json!({
        "AWSAccountId": ACCOUNT,
        "KeyId": key.id,
        "Arn": key.arn(),
        "CreationDate": key.created_at,
        "Enabled": key.state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": key.state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "KeySpec": key.spec,
        "CustomerMasterKeySpec": key.spec,
        "MultiRegion": false,
    });
    if let Value::Object(fields) = &mut metadata {
        match key.usage {
            KeyUsage::SignVerify => {
                let algorithms = json!(key.spec.signing_algorithms());
                fields.insert("SigningAlgorithms".to_owned(), algorithms);
            }
            KeyUsage::EncryptDecrypt => {
                let algorithms = json!([EncryptionAlgorithm::SymmetricDefault]);
                fields.insert("EncryptionAlgorithms".to_owned(), algorithms);
            }
            KeyUsage::GenerateVerifyMac => {
                let algorithms = json!([MacAlgorithm::HmacSha256]);
                fields.insert("MacAlgorithms".to_owned(), algorithms);
            }
        }
        if let Some(at) = key.delete_at {
            fields.insert("DeletionDate".to_owned(), json!(at));
        }
    }
    metadata
}

fn parse_spec(spec: &str) -> Result<KeySpec, KmsError> {
    let spec: value::StrDeserializer<'_, value::Error> = spec.into_deserializer();
    KeySpec::deserialize(spec).map_err(|_| KmsError::Validation("KeySpec is not known"))
}

//! The keys and aliases of the endpoint, in memory and, if wanted, in a file.
//!
//! Knows names and states, never what a key computes. The file is written whole
//! for each change, next to itself, and then renamed: a crash leaves the old one
//! or the new one.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::rand;
use cloakroom_jose::json;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    error::{KmsError, OpenError},
    key::{Blob, KeyMaterial, KeySpec, KeyUsage},
};

pub(super) const ACCOUNT: &str = "000000000000";
pub(super) const ARN_PREFIX: &str = "arn:aws:kms:us-east-1:000000000000:";
/// A loop that creates keys ends here, and not in the memory of the machine.
const MAX_ENTRIES: usize = 1000;
const FILE_VERSION: u32 = 1;

pub(super) struct Store {
    state: RwLock<State>,
    path: Option<PathBuf>,
}

impl Store {
    pub(super) fn in_memory() -> Self {
        Self {
            state: RwLock::default(),
            path: None,
        }
    }

    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let state = match fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => {
                if is_exposed(path).map_err(OpenError::Read)? {
                    return Err(OpenError::Exposed);
                }
                State::from_file(&bytes)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Now, so that a directory that cannot be written to is known
                // at start and not at the first key.
                let state = State::default();
                state.write(path).map_err(OpenError::Create)?;
                state
            }
            Err(error) => return Err(OpenError::Read(error)),
        };
        Ok(Self {
            state: RwLock::new(state),
            path: Some(path.to_owned()),
        })
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies a change, or none of it: it is seen only once it is in the file.
    pub(super) fn update<T>(
        &self,
        now: u64,
        change: impl FnOnce(&mut State) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = state.clone();
        next.forget_deleted(now);
        let outcome = change(&mut next)?;
        if let Some(path) = &self.path {
            next.write(path).map_err(KmsError::Storage)?;
        }
        *state = next;
        Ok(outcome)
    }
}

#[derive(Clone, Default)]
pub(super) struct State {
    keys: BTreeMap<String, Key>,
    aliases: BTreeMap<String, String>,
}

impl State {
    /// Drops the keys whose time has come, and the aliases that name them.
    fn forget_deleted(&mut self, now: u64) {
        let Self { keys, aliases } = self;
        keys.retain(|_, key| key.exists(now));
        aliases.retain(|_, id| keys.contains_key(id));
    }

    pub(super) fn add(&mut self, key: Key) -> Result<String, KmsError> {
        if self.keys.len() >= MAX_ENTRIES {
            return Err(KmsError::LimitExceeded);
        }
        let arn = key.arn();
        self.keys.insert(key.id.clone(), key);
        Ok(arn)
    }

    pub(super) fn add_alias(&mut self, name: &str, key_id: String) -> Result<(), KmsError> {
        let well_formed = name.len() <= 256
            && name.strip_prefix("alias/").is_some_and(|rest| {
                !rest.is_empty()
                    && !rest.starts_with("aws/")
                    && rest
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b))
            });
        if !well_formed {
            return Err(KmsError::InvalidAliasName);
        }
        if self.aliases.contains_key(name) {
            return Err(KmsError::AlreadyExists);
        }
        if self.aliases.len() >= MAX_ENTRIES {
            return Err(KmsError::LimitExceeded);
        }
        self.aliases.insert(name.to_owned(), key_id);
        Ok(())
    }

    /// Finds a key by its id, its ARN, an alias or the ARN of an alias.
    pub(super) fn find(&self, name: &str, now: u64) -> Result<&Key, KmsError> {
        let id = self.resolve(name)?;
        self.keys
            .get(id)
            .filter(|key| key.exists(now))
            .ok_or(KmsError::NotFound)
    }

    /// Finds a key whose state may change. Aliases do not name keys here, as on
    /// AWS: what an alias points at can change between two calls.
    pub(super) fn find_to_manage(&mut self, name: &str, now: u64) -> Result<&mut Key, KmsError> {
        if is_alias(name) {
            return Err(KmsError::NotFound);
        }
        let id = self.resolve(name)?.to_owned();
        let key = self.keys.get_mut(&id).filter(|key| key.exists(now));
        match key {
            Some(key) if key.state == KeyState::PendingDeletion => Err(KmsError::InvalidState),
            Some(key) => Ok(key),
            None => Err(KmsError::NotFound),
        }
    }

    pub(super) fn keys(&self, now: u64) -> impl Iterator<Item = &Key> {
        self.keys.values().filter(move |key| key.exists(now))
    }

    pub(super) fn aliases(&self) -> impl Iterator<Item = (&String, &String)> {
        self.aliases.iter()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> Result<&'a str, KmsError> {
        let alias = match name.strip_prefix(ARN_PREFIX) {
            Some(resource) => match resource.strip_prefix("key/") {
                Some(id) => return Ok(id),
                None if resource.starts_with("alias/") => resource,
                None => return Err(KmsError::InvalidArn),
            },
            // Another region or account, or no ARN at all.
            None if name.starts_with("arn:aws:kms:") => return Err(KmsError::NotFound),
            None if name.starts_with("arn:") => return Err(KmsError::InvalidArn),
            None if name.starts_with("alias/") => name,
            None => return Ok(name),
        };
        match self.aliases.get(alias) {
            Some(id) => Ok(id),
            None => Err(KmsError::NotFound),
        }
    }

    fn from_file(bytes: &[u8]) -> Result<Self, OpenError> {
        // The error of serde may quote the file, which holds private keys.
        let file: File = json::from_slice(bytes).map_err(|_| OpenError::Malformed)?;
        if file.version != FILE_VERSION {
            return Err(OpenError::Malformed);
        }
        let mut keys = BTreeMap::new();
        for stored in file.keys {
            let material = KeyMaterial::import(stored.spec, stored.material)
                .map_err(|_| OpenError::Malformed)?;
            let key = Key {
                id: stored.id,
                spec: stored.spec,
                usage: stored.usage,
                state: stored.state,
                created_at: stored.created_at,
                delete_at: stored.delete_at,
                description: stored.description,
                material: Arc::new(material),
            };
            keys.insert(key.id.clone(), key);
        }
        Ok(Self {
            keys,
            aliases: file.aliases,
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let file = File {
            version: FILE_VERSION,
            keys: self.keys.values().map(StoredKey::from).collect(),
            aliases: self.aliases.clone(),
        };
        let text = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
        let unique = random_uuid().map_err(io::Error::other)?;
        let beside = path.with_extension(unique);
        let written = write_private(&beside, &text).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // Private keys must not stay behind in a file that nobody knows of.
            // If this fails too, the first error is the one to report.
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) spec: KeySpec,
    pub(super) usage: KeyUsage,
    pub(super) state: KeyState,
    pub(super) created_at: u64,
    pub(super) delete_at: Option<u64>,
    pub(super) description: String,
    pub(super) material: Arc<KeyMaterial>,
}

impl Key {
    pub(super) fn arn(&self) -> String {
        format!("{ARN_PREFIX}key/{}", self.id)
    }

    fn exists(&self, now: u64) -> bool {
        self.delete_at.is_none_or(|at| now < at)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion,
}

#[derive(Deserialize, Serialize)]
struct File {
    version: u32,
    keys: Vec<StoredKey>,
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
struct StoredKey {
    id: String,
    spec: KeySpec,
    usage: KeyUsage,
    state: KeyState,
    created_at: u64,
    delete_at: Option<u64>,
    description: String,
    material: Blob,
}

impl From<&Key> for StoredKey {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.clone(),
            spec: key.spec,
            usage: key.usage,
            state: key.state,
            created_at: key.created_at,
            delete_at: key.delete_at,
            description: key.description.clone(),
            material: key.material.stored().clone(),
        }
    }
}

/// Whether a name is an alias or the ARN of one.
pub(super) fn is_alias(name: &str) -> bool {
    name.strip_prefix(ARN_PREFIX)
        .unwrap_or(name)
        .starts_with("alias/")
}

/// A random UUID (RFC 9562 §5.4) in text.
pub(super) fn random_uuid() -> Result<String, KmsError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    let mut number = u128::from_be_bytes(bytes);
    number = number & !(0xf << 76) | 0x4 << 76;
    number = number & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Ok(text)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn is_exposed(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &Path) -> io::Result<bool> {
    Ok(false)
}

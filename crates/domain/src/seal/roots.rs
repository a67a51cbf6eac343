//! The root keys of one execution environment, and which of them sealed an item.

use super::RootKey;
use crate::family::FamilyRecord;
use crate::grant::TokenFault;
use crate::time::UnixTime;

/// The current root key and those that still open what they sealed.
#[derive(Debug)]
pub struct RootKeys {
    current: RootKey,
    others: Vec<RootKey>,
    loaded_at: UnixTime,
}

impl RootKeys {
    /// `current` seals; all open.
    pub fn new(current: RootKey, others: Vec<RootKey>) -> Self {
        Self {
            current,
            others,
            loaded_at: UnixTime(u64::MAX),
        }
    }

    /// Says when the list of keys was read: [`Self::of`] tells by it whether an unknown
    /// key was removed from the list or may be newer than the list.
    #[must_use]
    pub fn loaded_at(self, loaded_at: UnixTime) -> Self {
        Self { loaded_at, ..self }
    }

    /// The key that seals.
    pub fn current(&self) -> &RootKey {
        &self.current
    }

    /// All of them, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &RootKey> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// The key that sealed `record`.
    ///
    /// # Errors
    ///
    /// [`TokenFault::Retired`] if its key is not listed, which ends the login: that is
    /// what removing a MAC key is for. [`TokenFault::Unreadable`] if the login began after
    /// the list was read: then the key can be one that this environment does not have
    /// *yet*. That happens when a deploy starts to seal with a new key before every
    /// function was given it (the order is `A`, `A,B`, `B,A`, `B`), and when an alias goes
    /// back to a version from before the new key. "Unavailable" is right there, because a
    /// client that is told "invalid" discards a good token and its user has to sign in.
    ///
    /// The record's key id and time are not sealed, so somebody who can write the table
    /// chooses between the two errors. Neither opens anything, and deleting the item
    /// makes its token invalid as well.
    pub fn of(&self, record: &FamilyRecord) -> Result<&RootKey, TokenFault> {
        self.iter().find(|key| key.id() == record.root).ok_or(
            if record.created_at > self.loaded_at {
                TokenFault::Unreadable
            } else {
                TokenFault::Retired
            },
        )
    }
}

#[cfg(test)]
mod tests;

//! Records to store. A store opens no seal, so anything may be in them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_aws::SystemEntropy;
use cloakroom_domain::family::{
    FamilyId, FamilyKind, FamilyRecord, FamilyState, TokenEntry, TokenState,
};
use cloakroom_domain::ports::Entropy;
use cloakroom_domain::seal::Sealed;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::{TokenDigest, TokenKind};
use std::collections::BTreeMap;

/// Tokens by number.
pub(super) fn token(n: u8) -> TokenDigest {
    TokenDigest([n; 32])
}

pub(super) fn seal(text: &str) -> Sealed {
    Sealed::from_bytes([&[1, 0, 255], text.as_bytes()].concat())
}

pub(super) fn entry(kind: TokenKind) -> TokenEntry {
    TokenEntry {
        kind,
        state: TokenState::Live,
        expires_at: UnixTime(2_000),
        data_key: seal("key"),
        meta: seal("meta"),
        used_at: None,
        redeemed_at: None,
        successor: None,
        jwts: BTreeMap::new(),
    }
}

/// A family of its own, with token 1 live and token 2 used.
pub(super) fn family() -> FamilyRecord {
    let used = TokenEntry {
        state: TokenState::Used,
        used_at: Some(UnixTime(1_001)),
        redeemed_at: Some(UnixTime(1_002)),
        successor: Some(seal("pair")),
        ..entry(TokenKind::Refresh)
    };
    FamilyRecord {
        id: FamilyId::generate(&SystemEntropy).unwrap(),
        state: FamilyState::Active,
        kind: FamilyKind::Session,
        client: String::new(),
        root: "root".into(),
        created_at: UnixTime(1_000),
        idle_expires_at: UnixTime(3_000),
        absolute_expires_at: UnixTime(9_000),
        generation: 0,
        grant: seal("grant"),
        claims_version: 0,
        lease_until: None,
        tokens: BTreeMap::from([(token(1), entry(TokenKind::Access)), (token(2), used)]),
        spent: vec![],
        // DynamoDB may delete at any moment what is past its TTL.
        forget_after: UnixTime(4_000_000_000),
    }
}

/// A name that nobody else uses.
pub(super) fn random_text() -> String {
    let mut bytes = [0; 12];
    SystemEntropy.fill(&mut bytes).unwrap();
    BASE64URL.encode(bytes)
}

//! Padding before sealing: the length of a sealed text tells which bucket it is in, and not
//! whether a user has one role more.
//!
//! JSON ends where it ends (RFC 8259 §2): spaces behind it are nothing to a reader, that of
//! the release before included.

use serde::Serialize;
use zeroize::Zeroizing;

/// The least length of a sealed grant.
pub(crate) const GRANT: usize = 512;
/// The least length of what a token may do.
pub(crate) const META: usize = 256;
/// The least length of a JWT's slot.
pub(crate) const SLOT: usize = 1024;

/// A value as JSON with spaces behind it, up to the end of its bucket: `least`, and from there on
/// steps of a half and a third (512, 768, 1024, 1536, …), so that a text grows by a third
/// on average, and by a half at most.
pub(crate) fn json(value: &impl Serialize, least: usize) -> Option<Zeroizing<Vec<u8>>> {
    let json = Zeroizing::new(serde_json::to_vec(value).ok()?);
    let bucket = bucket(json.len(), least);
    let mut plain = Zeroizing::new(Vec::with_capacity(bucket));
    plain.extend_from_slice(&json);
    plain.resize(bucket.max(json.len()), b' ');
    Some(plain)
}

fn bucket(len: usize, least: usize) -> usize {
    let (mut low, mut step) = (least, least / 2);
    while low < len {
        low = low.saturating_add(step);
        if low < len {
            low = low.saturating_add(step);
            step = step.saturating_mul(2);
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::{FamilyRecord, TokenEntry};
    use crate::grant::{self, new_family};
    use crate::testing::{SequenceEntropy, grant_of, meta, root, roots};
    use crate::time::UnixTime;

    #[test]
    fn buckets_grow_by_a_half_at_most() {
        for (len, expected) in [
            (1, 512),
            (512, 512),
            (513, 768),
            (769, 1024),
            (1025, 1536),
            (1537, 2048),
            (2049, 3072),
        ] {
            assert_eq!(bucket(len, 512), expected, "{len}");
        }
        for len in 512..20_000 {
            let bucket = bucket(len, 512);
            assert!(
                bucket >= len && 2 * bucket <= 3 * len + 3,
                "{len}: {bucket}"
            );
        }
    }

    fn family(roles: &[&str], name: &str) -> FamilyRecord {
        let mut grant = grant_of("alice");
        let user = grant.user.as_mut().unwrap();
        user.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        user.name = Some(name.into());
        let entropy = SequenceEntropy::default();
        let (record, token) = new_family(&grant, &meta(), &root(1), &entropy).unwrap();
        let opened = grant::open(&record, &token, &roots(), UnixTime(0), UnixTime(1_100));
        assert_eq!(opened.unwrap().grant.user.unwrap().roles, roles);
        record
    }

    #[test]
    fn d98_a_dump_does_not_tell_an_administrator_by_the_length_of_a_seal() {
        let lengths = |record: &FamilyRecord| {
            let of = |entry: &TokenEntry| entry.meta.as_bytes().len();
            let metas: Vec<_> = record.tokens.values().map(of).collect();
            (record.grant.as_bytes().len(), metas)
        };
        let user = lengths(&family(&["user"], "Bob Example"));
        assert_eq!(user, lengths(&family(&["admin", "user"], "Alice Example")));
        assert_eq!(user, lengths(&family(&[], "B")));
        // Who is in very many groups is in another bucket.
        let many: Vec<_> = ["a-group-with-a-long-name"; 40].to_vec();
        assert_ne!(user.0, lengths(&family(&many, "Bob")).0);
    }

    /// What the release before has sealed has no spaces behind it.
    #[test]
    fn what_is_not_padded_is_read_and_what_is_padded_reads_as_the_same() {
        let grant = grant_of("alice");
        let plain = serde_json::to_vec(&grant).unwrap();
        let padded = json(&grant, GRANT).unwrap();
        assert!(padded.starts_with(&plain) && padded.len() == 512);
        assert!(padded[plain.len()..].iter().all(|b| *b == b' '));
        for text in [plain.as_slice(), padded.as_slice()] {
            let read: crate::grant::Grant = serde_json::from_slice(text).unwrap();
            assert_eq!(serde_json::to_vec(&read).unwrap(), plain);
        }
        // A text of its bucket's very length has none.
        let full = "x".repeat(510);
        assert_eq!(json(&full, GRANT).unwrap().len(), 512);
        assert_eq!(json(&format!("{full}x"), GRANT).unwrap().len(), 768);
    }
}

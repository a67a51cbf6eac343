//! Nonces without a table: the number of the interval in which one was given out, and
//! a keyed name of that number. Nobody can make one beforehand, and every environment
//! of the function takes what another has given.

use crate::seal::{RootKey, RootKeys};
use crate::time::UnixTime;
use subtle::ConstantTimeEq;

/// How often there is a new one. One is taken for as long again.
const INTERVAL: u64 = 120;

/// The nonce of now.
pub(super) fn of(root: &RootKey, now: UnixTime) -> String {
    made(root, now.0 / INTERVAL)
}

/// Whether `nonce` was given out by us, not long ago. An environment whose clock is
/// ahead may have given out the next one already.
pub(super) fn is_ours(roots: &RootKeys, nonce: &str, now: UnixTime) -> bool {
    let current = now.0 / INTERVAL;
    let interval = nonce.split_once('.').map(|(interval, _)| interval.parse());
    let Some(Ok(interval)) = interval else {
        return false;
    };
    let recent = [
        current.saturating_sub(1),
        current,
        current.saturating_add(1),
    ];
    recent.contains(&interval)
        && roots.iter().any(|root| {
            made(root, interval)
                .as_bytes()
                .ct_eq(nonce.as_bytes())
                .into()
        })
}

fn made(root: &RootKey, interval: u64) -> String {
    let tag = root.name("dpop-nonce", &[&interval.to_string()]);
    let tag = tag.get(..22).unwrap_or_default();
    format!("{interval}.{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{root, roots};

    const NOW: UnixTime = UnixTime(10 * INTERVAL);

    #[test]
    fn a_nonce_is_good_in_its_interval_and_the_next_and_then_no_more() {
        let nonce = of(&root(1), NOW);
        for (now, good) in [
            (8 * INTERVAL + 119, false),
            (9 * INTERVAL, true),
            (10 * INTERVAL, true),
            (11 * INTERVAL + 119, true),
            (12 * INTERVAL, false),
        ] {
            assert_eq!(is_ours(&roots(), &nonce, UnixTime(now)), good, "{now}");
        }
    }

    #[test]
    fn a_nonce_changes_with_every_interval_and_not_within() {
        let of = |now| of(&root(1), UnixTime(now));
        assert_eq!(of(10 * INTERVAL), of(11 * INTERVAL - 1));
        assert_ne!(of(10 * INTERVAL), of(11 * INTERVAL));
    }

    #[test]
    fn a_nonce_of_nobody_or_of_another_key_is_refused() {
        let good = of(&root(1), NOW);
        assert!(is_ours(&roots(), &good, NOW));
        let other = of(&root(2), NOW);
        let longer = format!("{good}A");
        let dressed_up = format!("0{good}");
        let of_another_time = good.replacen("10.", "9.", 1);
        for nonce in [
            &other,
            &longer,
            &dressed_up,
            &of_another_time,
            "",
            ".",
            "10",
            "10.",
            "-1.x",
        ] {
            assert!(!is_ours(&roots(), nonce, NOW), "{nonce}");
        }
    }

    #[test]
    fn a_rotated_root_still_knows_its_nonces() {
        let nonce = of(&root(1), NOW);
        let rotated = RootKeys::new(root(2), vec![root(1)]);
        assert!(is_ours(&rotated, &nonce, NOW));
        assert!(!is_ours(&RootKeys::new(root(2), vec![]), &nonce, NOW));
    }
}

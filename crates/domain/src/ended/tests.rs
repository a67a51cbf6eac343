use super::*;
use crate::testing::{grant_of, root, system};

#[test]
fn each_moment_ends_what_began_before_it_and_nothing_else() {
    let tombstone = Tombstone {
        not_before: UnixTime(100),
        offline_not_before: UnixTime(50),
    };
    for (began_at, offline, ends) in [
        (99, false, true),
        (100, false, false),
        (99, true, false),
        (49, true, true),
        (50, true, false),
    ] {
        assert_eq!(
            tombstone.ends(UnixTime(began_at), offline),
            ends,
            "{began_at} {offline}"
        );
    }
    assert!(!Tombstone::default().ends(UnixTime(0), false));
}

#[test]
fn of_two_tombstones_the_later_moment_counts_each() {
    let at = |not_before, offline| Tombstone {
        not_before: UnixTime(not_before),
        offline_not_before: UnixTime(offline),
    };
    assert_eq!(at(1, 20).and(at(10, 2)), at(10, 20));
}

#[test]
fn whatever_ends_a_grant_has_a_name_of_its_own() {
    let mut grant = grant_of("alice");
    grant.user.as_mut().unwrap().idp_sid = Some("s".into());
    let root = root(1);
    let mut all = names_under(&root, &system(), &grant);
    all.push(client_key(&root, "app"));
    assert_eq!(all.len(), 4);
    let mut texts: Vec<_> = all.iter().map(IndexKey::name).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 4);
    assert_eq!(all.iter().filter(|name| name.is_listed()).count(), 2);
    // Neither another provider nor another client is meant.
    assert!(!all.contains(&provider_key(&root, "app")));
    assert!(!all.contains(&client_key(&root, "demo")));
    // Nor does anybody without the key know the name.
    assert_ne!(
        provider_key(&root, "demo"),
        provider_key(&crate::testing::root(2), "demo")
    );
}

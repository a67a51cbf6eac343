//! The two people of the demo. A password is the user name, and the sign-in page
//! says so.

use super::SecretDigest;

pub(super) struct User {
    pub(super) sub: &'static str,
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) roles: &'static [&'static str],
}

pub(super) const USERS: [&User; 2] = [
    &User {
        sub: "alice",
        name: "Alice Example",
        email: "alice@example.com",
        roles: &["admin", "user"],
    },
    &User {
        sub: "bob",
        name: "Bob Example",
        email: "bob@example.com",
        roles: &["user"],
    },
];

/// The user with this name.
pub(super) fn find(username: &str) -> Option<&'static User> {
    USERS.into_iter().find(|user| user.sub == username)
}

/// The user with this name, if the password is right.
pub(super) fn sign_in(username: &str, password: &str) -> Option<&'static User> {
    let user = find(username)?;
    SecretDigest::of(user.sub).matches(password).then_some(user)
}

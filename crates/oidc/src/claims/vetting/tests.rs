//! D94: an address that its provider calls unverified.

use super::*;
use crate::claims::profile;
use crate::testing::TestIdp;
use serde_json::json;

const ADDRESS: &str = "ceo@victim.example";

fn set(claims: &Value) -> ClaimSet {
    ClaimSet::parse_unsigned(claims.to_string().as_bytes()).unwrap()
}

async fn provider(more: &str) -> IdentityProviderConfig {
    let config = TestIdp::start().await.config(more);
    config.identity_providers[0].clone()
}

/// Name, address and flag.
type Mapped = (Option<String>, Option<String>, Option<bool>);

/// What comes of it.
fn mapped(idp: &IdentityProviderConfig, said: &[Value]) -> Result<Mapped, &'static str> {
    let sets: Vec<_> = said.iter().map(set).collect();
    let sets: Vec<_> = sets.iter().collect();
    match profile(Said(&sets), None, idp) {
        Ok(profile) => Ok((profile.name, profile.email, profile.email_verified)),
        Err(Fault::Refused(why) | Fault::Unavailable(why)) => Err(why),
    }
}

/// What a provider may say in `email_verified`, and whether that is a yes.
fn flags() -> [(Value, bool); 10] {
    [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!("false"), false),
        (json!("True"), false),
        (json!("yes"), false),
        (json!(1), false),
        (json!(null), false),
        (json!([true]), false),
        (json!({"verified": true}), false),
    ]
}

#[tokio::test]
async fn d94_an_address_that_is_called_unverified_is_left_out_or_refused_or_marked() {
    let [drop, pass, refuse] = [
        provider("").await,
        provider("unverified_email = \"pass\"").await,
        provider("unverified_email = \"refuse\"").await,
    ];
    for (flag, yes) in flags() {
        let said = [json!({"name": "N", "email": ADDRESS, "email_verified": flag})];
        let name = Some("N".to_owned());
        let address = Some(ADDRESS.to_owned());
        let email = address.clone().filter(|_| yes);
        assert_eq!(
            mapped(&drop, &said),
            Ok((name.clone(), email, None)),
            "{flag}"
        );
        let marked = Ok((name.clone(), address.clone(), Some(yes)));
        assert_eq!(mapped(&pass, &said), marked, "{flag}");
        assert_eq!(mapped(&refuse, &said).is_ok(), yes, "{flag}");
    }
    // Of a provider that does not say, the address is what it says it is.
    let silent = [json!({"email": ADDRESS})];
    for idp in [&drop, &pass, &refuse] {
        let email = Some(ADDRESS.to_owned());
        assert_eq!(mapped(idp, &silent), Ok((None, email, None)));
    }
    // And without an address there is nothing to refuse.
    let none = [json!({"email_verified": false})];
    assert_eq!(mapped(&refuse, &none), Ok((None, None, None)));
    assert_eq!(mapped(&pass, &none), Ok((None, None, None)));
}

#[tokio::test]
async fn d94_userinfo_and_id_token_do_not_vouch_for_each_other() {
    let idp = provider("").await;
    let pass = provider("unverified_email = \"pass\"").await;
    for (id_token, userinfo, email, verified) in [
        // The address of UserInfo, and only what UserInfo says of it.
        (
            json!({}),
            json!({"email": ADDRESS, "email_verified": "false"}),
            false,
            Some(false),
        ),
        (
            json!({}),
            json!({"email": ADDRESS, "email_verified": "true"}),
            true,
            Some(true),
        ),
        (
            json!({"email_verified": true}),
            json!({"email": ADDRESS}),
            true,
            None,
        ),
        (
            json!({"email_verified": false}),
            json!({"email": ADDRESS}),
            false,
            Some(false),
        ),
        // One says yes, the other no.
        (
            json!({"email": ADDRESS, "email_verified": true}),
            json!({"email": ADDRESS, "email_verified": false}),
            false,
            Some(false),
        ),
    ] {
        let said = [id_token, userinfo];
        let (_, address, _) = mapped(&idp, &said).unwrap();
        assert_eq!(address.is_some(), email, "{said:?}");
        let (_, address, told) = mapped(&pass, &said).unwrap();
        assert_eq!((address.is_some(), told), (true, verified), "{said:?}");
    }
}

#[tokio::test]
async fn d94_the_same_holds_for_whatever_an_address_is_mapped_to() {
    let mapped_to =
        |what: &str, pointer: &str| format!("[identity_providers.claims]\n{what} = \"{pointer}\"");
    let phone = json!({"phone_number": "+1 555", "phone_number_verified": false});
    let nested = json!({"profile": {"mail": ADDRESS, "email_verified": false}});
    let above = json!({"profile": {"mail": ADDRESS}, "email_verified": false});
    for (what, pointer, said) in [
        ("email", "/phone_number", phone.clone()),
        ("name", "/phone_number", phone.clone()),
        ("roles", "/phone_number", phone),
        ("email", "/profile/mail", nested),
        ("email", "/profile/mail", above),
        (
            "name",
            "/email",
            json!({"email": ADDRESS, "email_verified": false}),
        ),
        (
            "roles",
            "/email",
            json!({"email": ADDRESS, "email_verified": false}),
        ),
    ] {
        let idp = provider(&mapped_to(what, pointer)).await;
        let told = |said: &Value| {
            let set = set(said);
            let profile = profile(Said(&[&set]), None, &idp).ok().unwrap();
            match what {
                "name" => profile.name.unwrap_or_default(),
                "email" => profile.email.unwrap_or_default(),
                _ => profile.roles.join(" "),
            }
        };
        assert_eq!(told(&said), "", "{what} = {pointer}");
        let text = said.to_string().replace("false", "true");
        let verified = serde_json::from_str(&text).unwrap();
        assert_ne!(told(&verified), "", "{what} = {pointer}");
    }
    // A flag of the e-mail address says nothing about a telephone number.
    let idp = provider(&mapped_to("name", "/phone_number")).await;
    let said = [json!({"phone_number": "+1 555", "email_verified": false})];
    assert_eq!(mapped(&idp, &said).unwrap().0.as_deref(), Some("+1 555"));
}

#[tokio::test]
async fn d94_a_renewal_that_leaves_the_flag_out_does_not_verify() {
    let idp = provider("").await;
    let first = set(&json!({"email": ADDRESS, "email_verified": false}));
    for (renewed, email) in [
        (json!({"email": ADDRESS}), false),
        (json!({"email": ADDRESS, "email_verified": true}), true),
    ] {
        let renewed = set(&renewed);
        let profile = profile(Said(&[&renewed]), Some(&first), &idp).ok().unwrap();
        assert_eq!(profile.email.is_some(), email);
    }
}

//! `cloakroom sessions revoke`: it goes past what somebody has damaged in the table, finds
//! what they have taken out of the index, and says what it could not do.

use super::{Dev, json, run};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::redirect::Policy;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

const TABLE: &str = "cloakroom";
const REDIRECT: &str = "http://127.0.0.1:5000/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

type Item = HashMap<String, AttributeValue>;

/// The table, past all rules.
struct Table(Client);

impl Table {
    fn of(dev: &Dev) -> Self {
        let environment = std::fs::read_to_string(dev.env_file()).unwrap();
        let url = environment
            .lines()
            .find_map(|line| line.strip_prefix("AWS_ENDPOINT_URL_DYNAMODB="))
            .unwrap();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .build();
        Self(Client::from_conf(config))
    }

    async fn items(&self, prefix: &str) -> Vec<Item> {
        let answer = self.0.scan().table_name(TABLE).send().await.unwrap();
        let mut items = answer.items.unwrap();
        items.retain(|item| text(item, "pk").starts_with(prefix));
        items
    }

    async fn put(&self, item: Item) {
        let put = self.0.put_item().table_name(TABLE).set_item(Some(item));
        put.send().await.unwrap();
    }

    async fn delete(&self, item: &Item) {
        let delete = self.0.delete_item().table_name(TABLE);
        let delete = delete
            .key("pk", item["pk"].clone())
            .key("sk", item["sk"].clone());
        delete.send().await.unwrap();
    }

    async fn delete_all(&self, prefix: &str) {
        for item in self.items(prefix).await {
            self.delete(&item).await;
        }
    }

    async fn states(&self) -> BTreeMap<String, usize> {
        let mut states = BTreeMap::new();
        for item in self.items("f#").await {
            *states.entry(text(&item, "state")).or_default() += 1;
        }
        states
    }
}

fn text(item: &Item, name: &str) -> String {
    item[name].as_s().unwrap().clone()
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// What a browser does to sign somebody in for the demo's native app, on one page after
/// the other.
async fn native_tokens(dev: &Dev, user: &str) -> Value {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none());
    let client = client.build().unwrap();
    let mut cookies = BTreeMap::new();
    let mut first = reqwest::Url::parse(dev.base())
        .unwrap()
        .join("/oauth/authorize")
        .unwrap();
    first.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", "demo-native"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid offline_access orders:read"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("second_look", "1"),
    ]);
    let mut request = client.get(first);
    let code = loop {
        let jar: Vec<_> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = request
            .header("cookie", jar.join("; "))
            .send()
            .await
            .unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let at = answer.url().clone();
        if let Some(to) = answer.headers().get("location") {
            let to = at.join(to.to_str().unwrap()).unwrap();
            if to.as_str().starts_with(REDIRECT) {
                let mut pairs = to.query_pairs();
                break pairs
                    .find(|(name, _)| name == "code")
                    .unwrap()
                    .1
                    .into_owned();
            }
            request = client.get(to);
            continue;
        }
        let page = answer
            .text()
            .await
            .unwrap()
            .replace("&amp;", "&")
            .replace("&#38;", "&");
        let attribute = |tag: &str, name: &str| {
            let (_, rest) = tag.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let (_, form) = page.split_once("<form").expect("a form");
        let mut fields: Vec<_> = form
            .split("<input")
            .skip(1)
            .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
            .collect();
        for (name, value) in [
            ("username", user),
            ("password", user),
            ("decision", "allow"),
        ] {
            fields.retain(|(other, _)| other != name);
            fields.push((name.into(), value.into()));
        }
        let action = attribute(form, "action").unwrap_or_default();
        request = client.post(at.join(&action).unwrap()).form(&fields);
    };
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "demo-native"),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    post(dev, &form).await.1
}

async fn post(dev: &Dev, form: &[(&str, &str)]) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(dev.url("Token endpoint"))
        .form(form)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn refresh(dev: &Dev, tokens: &Value) -> (u16, Value) {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "demo-native"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    post(dev, &form).await
}

/// Who begins in the second of a revocation has begun before it.
async fn next_second() {
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
}

fn count(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name}: {report}"))
}

const MACHINE: &str = "sessions revoke --subject client|demo-machine --json";

#[tokio::test]
async fn d91_odd_rows_and_odd_items_stop_neither_the_list_nor_the_revocation() {
    let dev = Dev::start("");
    for _ in 0..4 {
        dev.token().await;
    }
    let table = Table::of(&dev);
    let (code, _) = json(&mut dev.command("sessions list --subject client|demo-machine --json"));
    assert_eq!(code, 0);
    // A row that names no family, and an item that nobody can read.
    let mut odd = table.items("sub#").await.remove(0);
    odd.insert("sk".into(), s("f#odd"));
    table.put(odd.clone()).await;
    let mut item = table.items("f#").await.remove(2);
    item.insert("gen".into(), s("many"));
    table.put(item).await;

    let list = "sessions list --subject client|demo-machine --json";
    let (code, listed) = json(&mut dev.command(list));
    assert_eq!((code, count(&listed, "unreadable")), (1, 1));
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 4);

    let (code, report) = json(&mut dev.command(MACHINE));
    assert_eq!(code, 1, "{report}");
    assert_eq!(
        (count(&report, "revoked"), count(&report, "unreadable")),
        (4, 1)
    );
    assert_eq!(report["complete"], false);
    assert_eq!(
        table.states().await,
        BTreeMap::from([("revoked".into(), 4)])
    );
    // Without the odd row, the same once more: nothing is left to do.
    table.delete(&odd).await;
    let (code, report) = json(&mut dev.command(MACHINE));
    assert_eq!((code, count(&report, "revoked")), (0, 0), "{report}");
    assert_eq!(count(&report, "over_before"), 4);
}

#[tokio::test]
async fn d92_logins_that_are_missing_in_the_index_are_found_or_said_to_be_missing() {
    let dev = Dev::start("");
    let alices = native_tokens(&dev, "alice").await;
    let bobs = native_tokens(&dev, "bob").await;
    let table = Table::of(&dev);
    table.delete_all("sub#").await;
    table.delete_all("ids#").await;
    let dry = "sessions revoke --subject demo|alice --json --dry-run";
    let (code, report) = json(&mut dev.command(dry));
    assert_eq!((code, count(&report, "revoked")), (0, 1), "{report}");
    assert_eq!(
        table.states().await["active"],
        2,
        "a dry run changes nothing"
    );
    assert!(table.items("ended#").await.is_empty());
    let (code, report) = json(&mut dev.command("sessions revoke --subject demo|alice --json"));
    assert_eq!((code, count(&report, "revoked")), (0, 1), "{report}");
    assert_eq!(count(&report, "not_in_index"), 1);
    assert_eq!(refresh(&dev, &alices).await.0, 400);
    let (status, bobs) = refresh(&dev, &bobs).await;
    assert_eq!(status, 200, "{bobs}");

    // An item that does not even say whose it is: it is said that it may be anybody's, and
    // it is over when it comes back.
    next_second().await;
    let again = native_tokens(&dev, "alice").await;
    table.delete_all("sub#").await;
    for mut item in table.items("f#").await {
        item.remove("names");
        table.put(item).await;
    }
    let (code, report) = json(&mut dev.command("sessions revoke --subject demo|alice --json"));
    assert_eq!((code, count(&report, "revoked")), (1, 0), "{report}");
    assert_eq!(count(&report, "unattributed"), 2, "alice's and bob's");
    assert_eq!(refresh(&dev, &again).await.0, 400);
    assert_eq!(refresh(&dev, &bobs).await.0, 200);
}

#[tokio::test]
async fn a_client_or_a_provider_is_revoked_and_nobody_else() {
    let dev = Dev::start("");
    let alices = native_tokens(&dev, "alice").await;
    let machines = dev.token().await;
    let dry = "sessions revoke --client demo-native --dry-run --json";
    let (code, report) = json(&mut dev.command(dry));
    assert_eq!((code, count(&report, "revoked")), (0, 1), "{report}");
    assert_eq!(report["dry_run"], true);
    let (status, alices) = refresh(&dev, &alices).await;
    assert_eq!(status, 200);
    let (code, report) = json(&mut dev.command("sessions revoke --client demo-native --json"));
    assert_eq!((code, count(&report, "revoked")), (0, 1), "{report}");
    assert_eq!(refresh(&dev, &alices).await.0, 400);
    let explain = format!("explain GET /api/orders --token {machines}");
    assert_eq!(run(&mut dev.command(&explain)).0, 0, "another client's");

    next_second().await;
    let alices = native_tokens(&dev, "alice").await;
    let (code, report) = json(&mut dev.command("sessions revoke --idp demo --json"));
    assert_eq!((code, count(&report, "revoked")), (0, 1), "{report}");
    assert_eq!(refresh(&dev, &alices).await.0, 400);
    assert_eq!(run(&mut dev.command(&explain)).0, 0, "no provider's");
    // Who signs in from now on comes in.
    next_second().await;
    let alices = native_tokens(&dev, "alice").await;
    assert_eq!(refresh(&dev, &alices).await.0, 200);

    let (code, _, err) = run(&mut dev.command("sessions revoke --idp gone"));
    assert_eq!(code, 0);
    assert!(err.contains("no such identity provider"), "{err}");
    for wrong in [
        "sessions revoke",
        "sessions revoke --client a --idp b",
        "sessions revoke --idp demo --index-only",
    ] {
        assert_eq!(run(&mut dev.command(wrong)).0, 2, "{wrong}");
    }
}

#[tokio::test]
async fn what_was_revoked_is_told_with_the_moment_from_which_it_counts() {
    let dev = Dev::start("");
    dev.token().await;
    let (code, out, err) = run(&mut dev.command("sessions revoke --subject client|demo-machine"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("1 revoked, 0 were over before\n"), "{out}");
    assert!(out.contains("refused everywhere within 5 s"), "{out}");
    assert!(
        out.contains("an access token at the latest after 600 s"),
        "{out}"
    );
}

//! Error answers as a whole, status, headers and body, held to a text of what they are
//! known to be.

use cloakroom_local::system::System;
use reqwest::RequestBuilder;
use std::fmt::Write;

/// The answers, one after the other, as text.
pub(crate) struct Gallery {
    base: String,
    provider: String,
    text: String,
}

impl Gallery {
    /// Of this system's answers.
    pub(crate) fn of(system: &System) -> Self {
        Self {
            base: system.url().to_owned(),
            provider: system.provider_url().to_owned(),
            text: String::new(),
        }
    }

    /// Sends the request, which must be answered with an error.
    pub(crate) async fn hang(&mut self, title: &str, request: RequestBuilder) {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(
            !status.is_success(),
            "{title} was meant to be an error, not {status}"
        );
        let mut headers: Vec<_> = answer
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .filter(|line| !is_of_the_transport(line))
            .map(|line| match line.split_once(": ") {
                // A nonce is of its time.
                Some((name @ "dpop-nonce", _)) => format!("{name}: …"),
                _ => line,
            })
            .collect();
        headers.sort();
        let body = without_style(&answer.text().await.unwrap());
        let headers = headers.join("\n");
        writeln!(self.text, "## {title}\n{}\n{headers}", status.as_u16()).unwrap();
        if !body.is_empty() {
            writeln!(self.text, "\n{}", body.trim_end()).unwrap();
        }
        self.text.push('\n');
    }

    /// Holds the answers to `known`, the text of the file of this name. What they are
    /// now is left in the target folder, to be looked at and taken over.
    pub(crate) fn compare(&self, name: &str, known: &str) {
        let got = without_digests(&self.finished());
        if got == known {
            return;
        }
        let name = name.replace('/', "-");
        let path = format!(concat!(env!("CARGO_TARGET_TMPDIR"), "/{}"), name);
        std::fs::write(&path, &got).unwrap();
        let line = got.lines().zip(known.lines()).position(|(a, b)| a != b);
        panic!("the answers differ from {name} in line {line:?}; they are now in {path}");
    }

    fn finished(&self) -> String {
        let encoded =
            |url: &str| form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>();
        let mut text = self.text.replace(&"x".repeat(1025), "x…");
        for (url, name) in [
            (&self.base, "http://localhost:3000"),
            (&self.provider, "http://127.0.0.1:4000"),
        ] {
            text = text
                .replace(url, name)
                .replace(&encoded(url), &encoded(name));
        }
        text
    }
}

/// Neither the digest of a style nor the name of a login is a part of the contract.
fn without_digests(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some((before, rest)) = text.split_once("style-src 'sha256-") {
        let (_, after) = rest.split_once("'; ").unwrap();
        text = format!("{before}{after}");
    }
    let mut logins = text.split("__Host-Http-login-");
    let mut named = logins.next().unwrap_or_default().to_owned();
    for after in logins {
        let (_, after) = after.split_once('=').unwrap();
        named = format!("{named}__Host-Http-login-STATE={after}");
    }
    named
}

fn is_of_the_transport(line: &str) -> bool {
    [
        "date:",
        "content-length:",
        "connection:",
        "x-amz",
        "apigw-",
        "via:",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

/// How it looks is no part of the contract.
fn without_style(body: &str) -> String {
    let Some((before, rest)) = body.split_once("<style>") else {
        return body.to_owned();
    };
    let (_, after) = rest.split_once("</style>\n").unwrap();
    format!("{before}{after}")
}

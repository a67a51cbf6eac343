//! What a deployed system shows to everybody.

use super::{Findings, Outcome};
use crate::check::count;
use crate::failure::Failure;
use cloakroom_domain::config::{Config, RouteConfig};
use cloakroom_domain::jwk::PublicJwk;
use cloakroom_domain::policy::TokenDemand;
use cloakroom_jose::json;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::Value;
use std::time::Duration;

/// A cold start on a slow way.
const LIMIT: Duration = Duration::from_secs(15);

/// Looks at the system at `url`; `published` are the keys as KMS has them.
pub(super) async fn look(
    url: &str,
    config: &Config,
    published: Option<&[PublicJwk]>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let outside = Outside::new(url)?;
    if let Err(fault) = outside.answers().await {
        findings.note("url", Err(fault));
        return Ok(());
    }
    findings.note("published keys", outside.key_set(published).await);
    findings.note("metadata", outside.metadata(config).await);
    findings.note("unauthenticated", outside.unauthenticated(config).await);
    Ok(())
}

struct Outside {
    client: Client,
    base: String,
}

impl Outside {
    fn new(url: &str) -> Result<Self, Failure> {
        let wrong = || Failure::new("--url must be an http or https URL");
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong());
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(LIMIT)
            .build()
            .map_err(|_| Failure::new("HTTPS cannot be spoken from here"))?;
        Ok(Self {
            client,
            base: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether there is anybody at all.
    async fn answers(&self) -> Result<(), String> {
        let request = self.client.head(format!("{}/", self.base));
        let answer = request.send().await.map_err(|_| self.unreachable())?;
        drop(answer);
        Ok(())
    }

    async fn key_set(&self, published: Option<&[PublicJwk]>) -> Outcome {
        let document = self.document("/.well-known/jwks.json").await?;
        let served = document.get("keys").and_then(Value::as_array);
        let served = served.ok_or("not a key set: does the URL lead to this system?")?;
        let Some(published) = published else {
            return Ok(format!("{}, not compared", count(served.len(), "key")));
        };
        let all_there = published
            .iter()
            .all(|key| serde_json::to_value(key).is_ok_and(|key| served.contains(&key)));
        if all_there {
            Ok(format!(
                "{}, those of KMS among them",
                count(served.len(), "key")
            ))
        } else {
            Err("not the keys that KMS has: CLOAKROOM_SIGNING_KEYS differs here and there, or a cache in between is older than five minutes".to_owned())
        }
    }

    async fn metadata(&self, config: &Config) -> Outcome {
        let document = self
            .document("/.well-known/oauth-authorization-server")
            .await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(&config.issuer) {
            return Err(
                "its issuer is not ours: CLOAKROOM_ISSUER or the configuration differs here and there"
                    .to_owned(),
            );
        }
        if text("jwks_uri") != Some(&format!("{}/.well-known/jwks.json", config.issuer)) {
            return Err("its jwks_uri is not below the issuer".to_owned());
        }
        Ok(format!("issuer {}", config.issuer))
    }

    async fn unauthenticated(&self, config: &Config) -> Outcome {
        let route = config
            .routes
            .iter()
            .find(|route| route.token != TokenDemand::None);
        let Some(route) = route else {
            return Ok("no route asks for a token".to_owned());
        };
        let (method, path) = example(route);
        let response = self
            .client
            .request(method.clone(), format!("{}{path}", self.base))
            .send()
            .await
            .map_err(|_| self.unreachable())?;
        let challenged = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .is_some_and(|value| value.as_bytes().starts_with(b"Bearer"));
        match response.status() {
            StatusCode::UNAUTHORIZED if challenged => {
                Ok(format!("{method} {path} without a token is 401"))
            }
            StatusCode::UNAUTHORIZED => Err(format!(
                "{method} {path} is 401 without WWW-Authenticate: Bearer: set it in the UNAUTHORIZED gateway response"
            )),
            status => Err(format!(
                "{method} {path} without a token is {}, not 401: is the authorizer attached to it?",
                status.as_u16()
            )),
        }
    }

    async fn document(&self, path: &str) -> Result<Value, String> {
        let response = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .map_err(|_| self.unreachable())?;
        if response.status() != StatusCode::OK {
            return Err(format!("{path} answers {}", response.status().as_u16()));
        }
        let body = response.bytes().await.map_err(|_| self.unreachable())?;
        json::to_serde_json(&body).map_err(|_| format!("{path} is not JSON"))
    }

    fn unreachable(&self) -> String {
        format!(
            "{} does not answer: check --url, and that it can be reached from here",
            self.base
        )
    }
}

/// A request that the route matches.
fn example(route: &RouteConfig) -> (Method, String) {
    let method = match route.method.as_str() {
        "ANY" => Method::GET,
        name => Method::from_bytes(name.as_bytes()).unwrap_or(Method::GET),
    };
    let segments: Vec<_> = route
        .path
        .split('/')
        .map(|segment| {
            if segment.starts_with('{') {
                "x"
            } else {
                segment
            }
        })
        .collect();
    (method, segments.join("/"))
}

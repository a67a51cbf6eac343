//! The authorizer asked directly, as API Gateway asks: for what no service's clock,
//! no cache and no HTTP client may blur.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::function::FunctionError;
use cloakroom_local::system::System;
use serde_json::{Value, json};

/// What the authorizer says.
#[derive(Clone, Debug, PartialEq)]
pub enum Swap {
    /// 200, with this JWT.
    Allowed(String),
    /// 403.
    Denied,
    /// 401.
    Unauthorized,
    /// 503.
    Unavailable,
}

impl Swap {
    /// The JWT.
    pub fn jwt(&self) -> &str {
        match self {
            Self::Allowed(jwt) => jwt,
            other => panic!("{other:?}"),
        }
    }

    /// The JWT's claims.
    pub fn claims(&self) -> Value {
        let part = self.jwt().split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
    }
}

/// What the authorizer says to `GET path` with `Authorization: Bearer token`.
pub async fn swap(system: &System, path: &str, token: &str) -> Swap {
    with_headers(
        system,
        path,
        &json!({"Authorization": [format!("Bearer {token}")]}),
    )
    .await
}

/// The same with a session cookie from our own page.
pub async fn swap_session(system: &System, path: &str, cookie: &str) -> Swap {
    let cookie = format!("__Host-Http-cloakroom={cookie}");
    with_headers(system, path, &json!({"Cookie": [cookie], "X-CSRF": ["1"]})).await
}

/// The same with these headers, each a list of values.
pub async fn with_headers(system: &System, path: &str, headers: &Value) -> Swap {
    answer(system, &event(path, headers)).await
}

/// The event of a REST API's REQUEST authorizer.
pub fn event(path: &str, headers: &Value) -> Value {
    json!({
        "type": "REQUEST",
        "methodArn": format!("arn:aws:execute-api:us-east-1:000000000000:local/prod/GET{path}"),
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": null,
        "multiValueHeaders": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "stage": "prod",
            "httpMethod": "GET",
            "resourcePath": path,
            "requestId": "direct",
        },
    })
}

/// What the authorizer says to an event.
pub async fn answer(system: &System, event: &Value) -> Swap {
    let function = system.function("authorizer").unwrap();
    match function.invoke(event.to_string().into()).await {
        Ok(answer) => read(Ok(&answer)),
        Err(FunctionError::Handled { error_message, .. }) => read(Err(&error_message)),
        Err(FunctionError::Unavailable(why)) => panic!("{why}"),
    }
}

/// What an answer, or an error's text, says to API Gateway.
pub fn read(answer: Result<&[u8], &String>) -> Swap {
    let answer = match answer.map_err(String::as_str) {
        Ok(answer) => answer,
        Err("Unauthorized") => return Swap::Unauthorized,
        Err("Unavailable") => return Swap::Unavailable,
        Err(other) => panic!("{other}"),
    };
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let effect = &answer["policyDocument"]["Statement"][0]["Effect"];
    match answer["context"]["authorization"].as_str() {
        Some(bearer) if effect == "Allow" => {
            Swap::Allowed(bearer.strip_prefix("Bearer ").unwrap().to_owned())
        }
        None if effect == "Deny" => Swap::Denied,
        _ => panic!("neither allowed nor denied"),
    }
}

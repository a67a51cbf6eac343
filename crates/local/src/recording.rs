//! Writes down which calls to AWS each function makes, so that its role can be held to
//! them: `make test` compares the whole suite's calls with `infra/template.yaml`.
//!
//! A call is told to a function by its access key, which here is the function's name.
//! What is kept is what a policy could ask for (action, key prefix, key, algorithm,
//! encryption context), never another value.

use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header, request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use cloakroom_jose::json;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The variable that names the file.
pub const VARIABLE: &str = "CLOAKROOM_RECORD_CALLS";

/// A call, as far as a policy can judge it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Call {
    /// Who called: an access key.
    pub function: String,
    /// As IAM names it: `dynamodb:GetItem`.
    pub action: String,
    /// What it was about: `f#` of DynamoDB's leading key, the name of a KMS key or of a
    /// secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What conditions may ask for: `kms:SigningAlgorithm`, `kms:MessageType`,
    /// `kms:EncryptionContext:…`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

/// Writes calls to a file, each once. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    file: File,
    seen: BTreeSet<Call>,
    /// What policies call a key or an issuer.
    names: BTreeMap<String, String>,
}

impl Recorder {
    /// Appends to this file: several processes may, since each line is one write.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn appending_to(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Book {
            file,
            seen: BTreeSet::new(),
            names: BTreeMap::new(),
        }))))
    }

    /// Gives the ARN of a KMS key, or an issuer, the name under which it is written down.
    pub fn name(&self, value: &str, name: &str) {
        let mut book = self.lock();
        book.names.insert(value.to_owned(), name.to_owned());
    }

    /// A service that stands before `service` and notes what it is asked for.
    pub fn before(&self, service: Router) -> Router {
        service.layer(middleware::from_fn_with_state(self.clone(), note))
    }

    fn write(&self, calls: Vec<Call>) -> io::Result<()> {
        let mut book = self.lock();
        for mut call in calls {
            if call.action.starts_with("kms:") {
                call.on = call.on.and_then(|arn| book.names.get(&arn).cloned());
            }
            for (_, value) in contexts(&mut call.with) {
                *value = book.names.get(value).cloned().unwrap_or_default();
            }
            if book.seen.insert(call.clone()) {
                let line = format!("{}\n", serde_json::to_string(&call)?);
                book.file.write_all(line.as_bytes())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the first recorder on a call's way has marked, the others leave to it: it is the
/// one that knows what things are called.
const RECORDED: header::HeaderName = header::HeaderName::from_static("x-cloakroom-recorded");

/// A call that cannot be written down is refused: the record must be whole.
async fn note(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    const LIMIT: usize = 1 << 20;
    if request.headers().contains_key(RECORDED) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = body::to_bytes(body, LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if recorder.write(calls(&parts, &bytes)).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    parts
        .headers
        .insert(RECORDED, header::HeaderValue::from_static("1"));
    next.run(Request::from_parts(parts, Body::from(bytes)))
        .await
}

/// What a request asks for. IAM judges a transaction by its parts.
fn calls(parts: &request::Parts, body: &[u8]) -> Vec<Call> {
    let text = |name: header::HeaderName| parts.headers.get(name)?.to_str().ok();
    let Some(function) = text(header::AUTHORIZATION).and_then(access_key) else {
        return Vec::new();
    };
    let target = header::HeaderName::from_static("x-amz-target");
    let Some((service, operation)) = text(target).and_then(|target| target.split_once('.')) else {
        return Vec::new();
    };
    let request: Value = json::to_serde_json(body).unwrap_or_default();
    let call = |action: String, on: Option<&str>| Call {
        function: function.to_owned(),
        action,
        on: on.map(str::to_owned),
        with: BTreeMap::new(),
    };
    match service {
        "DynamoDB_20120810" if operation == "TransactWriteItems" => request
            .get("TransactItems")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .flatten()
            .map(|(kind, part)| {
                let action = match kind.as_str() {
                    "ConditionCheck" => "dynamodb:ConditionCheckItem".to_owned(),
                    kind => format!("dynamodb:{kind}Item"),
                };
                call(action, leading_key(part))
            })
            .collect(),
        "DynamoDB_20120810" => vec![call(format!("dynamodb:{operation}"), leading_key(&request))],
        "TrentService" => {
            let mut call = call(format!("kms:{operation}"), string(&request, "KeyId"));
            for (condition, member) in [
                ("kms:MacAlgorithm", "MacAlgorithm"),
                ("kms:MessageType", "MessageType"),
                ("kms:SigningAlgorithm", "SigningAlgorithm"),
            ] {
                let value = string(&request, member).map(str::to_owned);
                call.with
                    .extend(value.map(|value| (condition.to_owned(), value)));
            }
            let context = request.get("EncryptionContext").and_then(Value::as_object);
            for (key, value) in context.into_iter().flatten() {
                let value = value.as_str().unwrap_or_default().to_owned();
                call.with.insert(format!("{CONTEXT}{key}"), value);
            }
            vec![call]
        }
        "AmazonSSM" => vec![call(format!("ssm:{operation}"), string(&request, "Name"))],
        "secretsmanager" => vec![call(
            format!("secretsmanager:{operation}"),
            string(&request, "SecretId"),
        )],
        other => vec![call(format!("{other}:{operation}"), None)],
    }
}

/// The condition key of one pair of an encryption context begins so.
const CONTEXT: &str = "kms:EncryptionContext:";

fn contexts(with: &mut BTreeMap<String, String>) -> impl Iterator<Item = (&String, &mut String)> {
    with.iter_mut()
        .filter(|(condition, _)| condition.starts_with(CONTEXT))
}

/// `AWS4-HMAC-SHA256 Credential=KEY/20261124/…`.
fn access_key(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').next()
}

fn string<'a>(request: &'a Value, member: &str) -> Option<&'a str> {
    request.get(member)?.as_str()
}

/// The kind of the partition key: `f#` of `f#AAAA`, `epoch` of `epoch`. Wherever the
/// operation has it: in its key, its item, or its key condition's value.
fn leading_key(request: &Value) -> Option<&str> {
    let key = [
        "/Key/pk/S",
        "/Item/pk/S",
        "/ExpressionAttributeValues/:pk/S",
    ]
    .iter()
    .find_map(|place| request.pointer(place)?.as_str())?;
    let end = key.find('#').map_or(key.len(), |at| at + 1);
    key.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(target: &str, body: &Value) -> Vec<Call> {
        let request = request::Builder::new()
            .header("x-amz-target", target)
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=token/20261124/us-east-1/kms/aws4_request, SignedHeaders=host",
            )
            .body(())
            .unwrap();
        calls(&request.into_parts().0, body.to_string().as_bytes())
    }

    fn told(calls: &[Call]) -> Vec<String> {
        calls
            .iter()
            .map(|call| serde_json::to_string(call).unwrap())
            .collect()
    }

    #[test]
    fn a_call_is_told_without_its_values() {
        assert_eq!(
            told(&of(
                "DynamoDB_20120810.GetItem",
                &json!({"Key": {"pk": {"S": "f#secret"}, "sk": {"S": "f"}}})
            )),
            [r#"{"function":"token","action":"dynamodb:GetItem","on":"f#"}"#]
        );
        assert_eq!(
            told(&of(
                "DynamoDB_20120810.GetItem",
                &json!({"Key": {"pk": {"S": "epoch"}}})
            )),
            [r#"{"function":"token","action":"dynamodb:GetItem","on":"epoch"}"#]
        );
        assert_eq!(
            told(&of(
                "DynamoDB_20120810.Query",
                &json!({"ExpressionAttributeValues": {":pk": {"S": "sub#secret"}}})
            )),
            [r#"{"function":"token","action":"dynamodb:Query","on":"sub#"}"#]
        );
        assert_eq!(
            told(&of(
                "AmazonSSM.GetParameter",
                &json!({"Name": "/cloakroom/idp", "WithDecryption": true})
            )),
            [r#"{"function":"token","action":"ssm:GetParameter","on":"/cloakroom/idp"}"#]
        );
    }

    #[test]
    fn a_transaction_is_its_parts() {
        let transaction = json!({"TransactItems": [
            {"Put": {"Item": {"pk": {"S": "f#1"}}}},
            {"ConditionCheck": {"Key": {"pk": {"S": "ended#1"}}}},
        ]});
        let calls = of("DynamoDB_20120810.TransactWriteItems", &transaction);
        let parts: Vec<_> = calls
            .iter()
            .map(|call| (call.action.as_str(), call.on.as_deref()))
            .collect();
        assert_eq!(
            parts,
            [
                ("dynamodb:PutItem", Some("f#")),
                ("dynamodb:ConditionCheckItem", Some("ended#"))
            ]
        );
    }

    #[test]
    fn a_call_is_written_once_and_its_key_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls.jsonl");
        let recorder = Recorder::appending_to(&path).unwrap();
        recorder.name("arn:1", "SigningKey");
        recorder.name("https://app.example", "PublicUrl");
        let sign = |key: &str| {
            of(
                "TrentService.Sign",
                &json!({"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256", "MessageType": "DIGEST", "Message": "x"}),
            )
        };
        for key in ["arn:1", "arn:1", "arn:2"] {
            recorder.write(sign(key)).unwrap();
        }
        let unwrap = |issuer: &str| {
            of(
                "TrentService.Decrypt",
                &json!({"KeyId": "arn:2", "EncryptionContext": {"cloakroom:deployment": issuer}}),
            )
        };
        for issuer in ["https://app.example", "https://other.example"] {
            recorder.write(unwrap(issuer)).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            concat!(
                r#"{"function":"token","action":"kms:Sign","on":"SigningKey","with":{"kms:MessageType":"DIGEST","kms:SigningAlgorithm":"ECDSA_SHA_256"}}"#,
                "\n",
                r#"{"function":"token","action":"kms:Sign","with":{"kms:MessageType":"DIGEST","kms:SigningAlgorithm":"ECDSA_SHA_256"}}"#,
                "\n",
                r#"{"function":"token","action":"kms:Decrypt","with":{"kms:EncryptionContext:cloakroom:deployment":"PublicUrl"}}"#,
                "\n",
                r#"{"function":"token","action":"kms:Decrypt","with":{"kms:EncryptionContext:cloakroom:deployment":""}}"#,
                "\n"
            )
        );
    }

    #[tokio::test]
    async fn of_two_on_its_way_the_first_writes_a_call_down() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        let service = Router::new().fallback(async || "done");
        let service = Recorder::appending_to(&second).unwrap().before(service);
        let service = Recorder::appending_to(&first).unwrap().before(service);
        let request = Request::builder()
            .header("x-amz-target", "TrentService.GetPublicKey")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=jwks/x")
            .body(Body::from("{}"))
            .unwrap();
        let answer = tower::ServiceExt::oneshot(service, request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let written = [first, second].map(|path| std::fs::read_to_string(path).unwrap());
        let call = "{\"function\":\"jwks\",\"action\":\"kms:GetPublicKey\"}\n";
        assert_eq!(written, [call, ""]);
    }

    #[test]
    fn who_shows_no_credential_is_nobody() {
        let request = request::Builder::new()
            .header("x-amz-target", "TrentService.Sign")
            .body(())
            .unwrap();
        assert_eq!(calls(&request.into_parts().0, b"{}"), []);
    }
}

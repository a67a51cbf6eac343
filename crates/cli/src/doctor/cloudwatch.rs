//! Two questions to CloudWatch, in its JSON protocol.
//!
//! Its SDK would bring a second wire format, compression and an older HTTP stack for
//! them, so they are signed here, with what signs for the SDK.

use crate::place::{Aws, Place};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use cloakroom_domain::ports::Clock as _;
use cloakroom_jose::json;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;
use std::time::{Duration, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(15);
const FORMAT: &str = "application/x-amz-json-1.0";

/// Pages of one answer; a stack has few metrics, so that more are a fault.
const PAGES: usize = 50;

/// Asks CloudWatch with the credentials and the Region of the other clients.
pub(super) struct CloudWatch<'a> {
    aws: &'a Aws,
    http: Client,
    url: String,
    region: String,
}

impl<'a> CloudWatch<'a> {
    pub(super) fn new(aws: &'a Aws) -> Result<Self, String> {
        let region = aws.sdk.region().map(ToString::to_string);
        let region = region.ok_or("there is no AWS Region: set AWS_REGION")?;
        let given = Place::variable("AWS_ENDPOINT_URL_CLOUDWATCH");
        let given = given.or_else(|| Place::variable("AWS_ENDPOINT_URL"));
        let url = given.unwrap_or_else(|| format!("https://{}/", host(&region)));
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(LIMIT)
            .build();
        let http = http.map_err(|_| "HTTPS cannot be spoken from here")?;
        Ok(Self {
            aws,
            http,
            url,
            region,
        })
    }

    /// What is under `member` on all pages of an answer.
    pub(super) async fn list(
        &self,
        operation: &str,
        asked: &Value,
        member: &str,
    ) -> Result<Vec<Value>, String> {
        let mut asked = asked.clone();
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let mut answer = self.call(operation, &asked).await?;
            if let Some(Value::Array(part)) = answer.get_mut(member).map(Value::take) {
                found.extend(part);
            }
            match answer.get("NextToken") {
                Some(Value::String(token)) if !token.is_empty() => {
                    if let Some(asked) = asked.as_object_mut() {
                        asked.insert("NextToken".to_owned(), token.as_str().into());
                    }
                }
                _ => return Ok(found),
            }
        }
        Err(format!("CloudWatch does not come to an end of {operation}"))
    }

    async fn call(&self, operation: &str, asked: &Value) -> Result<Value, String> {
        let failed = |why: &str| format!("CloudWatch does not do {operation}: {why}");
        let body = asked.to_string();
        let target = format!("GraniteServiceVersion20100801.{operation}");
        let headers = [(CONTENT_TYPE.as_str(), FORMAT), ("x-amz-target", &target)];
        let signed = self.signed(&headers, body.as_bytes()).await?;
        let mut request = self.http.post(&self.url).body(body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|_| {
            failed("it cannot be reached; check the network and AWS_ENDPOINT_URL_CLOUDWATCH")
        })?;
        let status = answer.status();
        let answer = answer.bytes().await.unwrap_or_default();
        let answer = json::to_serde_json(&answer);
        if status == StatusCode::OK {
            return answer.map_err(|_| failed("its answer is not JSON"));
        }
        let answer = answer.unwrap_or_default();
        // `namespace#Code`; the message could quote the request.
        let code = answer
            .get("__type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        Err(failed(&format!(
            "it answers {} {code}; the credentials need cloudwatch:{operation}",
            status.as_u16()
        )))
    }

    async fn signed(
        &self,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(String, String)>, String> {
        let none = || "there are no AWS credentials for CloudWatch: set AWS_PROFILE".to_owned();
        let provider = self.aws.sdk.credentials_provider().ok_or_else(none)?;
        let credentials = provider.provide_credentials().await.map_err(|_| none())?;
        let identity = credentials.into();
        let now = cloakroom_aws::world().now();
        let unsigned = || "a request to CloudWatch cannot be signed".to_owned();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("monitoring")
            .time(UNIX_EPOCH + Duration::from_secs(now.0))
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| unsigned())?
            .into();
        let headers = headers.iter().copied();
        let request = SignableRequest::new("POST", &self.url, headers, SignableBody::Bytes(body));
        let signed = sign(request.map_err(|_| unsigned())?, &parameters);
        let (instructions, _) = signed.map_err(|_| unsigned())?.into_parts();
        Ok(instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }
}

/// Where CloudWatch is in a Region of any partition.
fn host(region: &str) -> String {
    let suffix = match region.split('-').next() {
        Some("cn") => "amazonaws.com.cn",
        Some("eusc") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("monitoring.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn each_partition_has_its_host() {
        for (region, said) in [
            ("eu-central-1", "monitoring.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "monitoring.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "monitoring.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "monitoring.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(host(region), said);
        }
    }
}

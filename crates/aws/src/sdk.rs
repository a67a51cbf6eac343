//! How long we wait for AWS, and how often we ask again.

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::time::Duration;

/// How long we wait for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For one attempt's answer.
    pub attempt: Duration,
    /// For attempts and pauses together.
    pub operation: Duration,
}

impl Limits {
    /// Toward AWS, in its own Region.
    pub const DEPLOYED: Self = Self {
        // Within a Region a connection takes single milliseconds.
        connect: Duration::from_millis(500),
        // DynamoDB and KMS answer in tens of milliseconds; an answer that takes longer
        // than this is not coming.
        attempt: Duration::from_millis(800),
        // The longest path through the authorizer is epoch, item, Sign and the JWT's
        // slot: four of these still end before API Gateway gives up on an authorizer
        // (10 s), so that it is we who answer.
        operation: Duration::from_secs(2),
    };
}

/// The second attempt is for a connection that died while the function was
/// frozen. Every call of ours may be sent twice: reads and MACs change nothing, a
/// signature may be made twice, conditional writes refuse to happen twice or
/// know themselves again, and transactions carry a token.
const ATTEMPTS: u32 = 2;

/// The pause before the second attempt is random, at most this.
const PAUSE: Duration = Duration::from_millis(100);

/// Configures the SDK from the environment (credentials, Region,
/// `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB`, …), with our own limits.
pub async fn sdk_config() -> SdkConfig {
    sdk_loader(Limits::DEPLOYED).load().await
}

/// As [`sdk_config`], for who must say where the endpoints are, or how long to wait.
pub fn sdk_loader(limits: Limits) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(limits.connect)
        .read_timeout(limits.attempt)
        .operation_attempt_timeout(limits.attempt)
        .operation_timeout(limits.operation)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(PAUSE)
        .with_max_backoff(PAUSE);
    // The version is named so that an update of the SDK changes no behaviour.
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        // One for all services: reading the root certificates is a good part of a
        // cold start, and each client would read them for itself.
        .http_client(
            Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .build_https(),
        )
        .timeout_config(timeouts)
        .retry_config(retries)
        // It watches throughput over seconds; our answers are a few kilobytes and
        // the attempt's limit is stricter.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

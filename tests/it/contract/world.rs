//! Where the laws are held: endpoints of DynamoDB and KMS.

use cloakroom_aws::dynamo::{DynamoStore, create_table};
use cloakroom_aws::{Limits, sdk_loader};
use cloakroom_domain::jwt::Algorithm;
use cloakroom_domain::token::sha256;
use cloakroom_local::kms::KmsEndpoint;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What an endpoint of KMS can do.
pub(super) struct Abilities {
    algorithms: &'static [Algorithm],
    /// What is under a signature that was asked for over this message.
    signed: fn(&[u8]) -> Vec<u8>,
}

const EMBEDDED: Abilities = Abilities {
    algorithms: &[
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDsa,
    ],
    signed: <[u8]>::to_vec,
};

/// It has no Ed25519 keys, salts PSS in another length than RFC 7518 §3.5 wants,
/// and takes every message for a raw one: it hashes our digest once more.
pub(super) const MOTO: Abilities = Abilities {
    algorithms: &[Algorithm::RS256, Algorithm::ES256],
    signed: |message| sha256(message).to_vec(),
};

/// DynamoDB with a table of its own, and KMS.
pub(super) struct World {
    pub(super) dynamo: aws_sdk_dynamodb::Client,
    pub(super) kms: aws_sdk_kms::Client,
    pub(super) dynamo_url: String,
    pub(super) kms_url: String,
    pub(super) table: String,
    pub(super) algorithms: &'static [Algorithm],
    pub(super) signed: fn(&[u8]) -> Vec<u8>,
}

impl World {
    /// Embedded parts, for this test alone.
    pub(super) async fn embedded() -> Self {
        let (listener, dynamo) = listen().await;
        let database = dynoxide::Database::memory().unwrap();
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        let (listener, kms) = listen().await;
        let endpoint = Arc::new(KmsEndpoint::in_memory());
        tokio::spawn(endpoint.serve_on(listener));
        Self::at(&url(dynamo), &url(kms), EMBEDDED).await
    }

    /// Endpoints that are there already; the table is new.
    pub(super) async fn at(dynamo: &str, kms: &str, abilities: Abilities) -> Self {
        let world = Self {
            dynamo: dynamo_at(dynamo).await,
            kms: kms_at(kms).await,
            dynamo_url: dynamo.to_owned(),
            kms_url: kms.to_owned(),
            table: format!("cloakroom-{}", super::records::random_text()),
            algorithms: abilities.algorithms,
            signed: abilities.signed,
        };
        create_table(&world.dynamo, &world.table).await.unwrap();
        world
    }

    pub(super) fn store(&self) -> DynamoStore {
        DynamoStore::new(self.dynamo.clone(), &self.table)
    }
}

/// A client as the functions have it, at this endpoint.
pub(super) async fn dynamo_at(endpoint: &str) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(&config(endpoint).await)
}

pub(super) async fn kms_at(endpoint: &str) -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::new(&config(endpoint).await)
}

async fn config(endpoint: &str) -> aws_config::SdkConfig {
    let credentials =
        aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "tests");
    sdk_loader(Limits::DEPLOYED)
        .region(aws_config::Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .load()
        .await
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(super) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

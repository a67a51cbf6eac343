//! What is allowed of a client and yet costs more than it seems.

use cloakroom_domain::client::SecretHash;
use cloakroom_domain::config::Config;

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let is_slow = |hash: &SecretHash| matches!(hash, SecretHash::Argon2id(_));
    let clients = config.clients.iter().enumerate();
    clients
        .filter(|(_, client)| client.secrets.iter().any(is_slow))
        .map(|(at, _)| {
            format!(
                "clients[{at}].secrets: an Argon2id hash makes every refused attempt of any client cost about 33 ms of CPU, and limits them; make a secret with `cloakroom clients new`, whose hash (sha256:…) does not"
            )
        })
        .collect()
}

//! What people read, and where their browsers land.

use crate::config::Config;
use crate::login::local_path;
use crate::visible::visible;

pub(super) fn names_and_paths(config: &Config, fault: &mut impl FnMut(String)) {
    let path = &config.session.logged_out_path;
    if local_path(path) != path {
        fault("session.logged_out_path must be a path of this site".into());
    }
    let clients = config.clients.iter().map(|client| &client.name);
    let providers = config.identity_providers.iter().map(|idp| &idp.name);
    for (kind, names) in [
        ("clients", clients.collect::<Vec<_>>()),
        ("identity_providers", providers.collect()),
    ] {
        for (i, name) in names.into_iter().enumerate() {
            // It is on the page where the user decides whom to trust.
            if name
                .as_ref()
                .is_some_and(|name| name.is_empty() || visible(name) != *name)
            {
                fault(format!(
                    "{kind}[{i}].name must be text that people can see: no control or format characters, no space at its ends"
                ));
            }
        }
    }
}

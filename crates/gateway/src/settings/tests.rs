use super::*;

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";
const EVERYTHING: [Need; 3] = [Need::Table, Need::SigningKeys, Need::MacKeys];

fn source(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn faults(values: &[(&str, &str)], needs: &[Need]) -> Vec<String> {
    Settings::read(&source(values), needs).unwrap_err().0
}

#[test]
fn a_complete_environment_is_read() {
    let two = format!("{KEY}, {KEY}2");
    let settings = Settings::read(
        &source(&[
            ("CLOAKROOM_TABLE", "cloakroom"),
            ("CLOAKROOM_SIGNING_KEYS", &two),
            ("CLOAKROOM_MAC_KEYS", KEY),
            ("CLOAKROOM_NOT_BEFORE", "1700000000"),
            ("CLOAKROOM_LOG", "debug"),
        ]),
        &EVERYTHING,
    )
    .unwrap();
    assert_eq!(settings.table, "cloakroom");
    assert_eq!(settings.signing_keys, [KEY.to_owned(), format!("{KEY}2")]);
    assert_eq!(settings.mac_keys, [KEY]);
    assert_eq!(settings.not_before, UnixTime(1_700_000_000));
    assert_eq!(settings.log, Level::DEBUG);
    assert_eq!(settings.client_key, "");
    assert_eq!(settings.stack, "cloakroom");
}

#[test]
fn what_is_not_needed_may_be_absent() {
    let settings = Settings::read(&source(&[]), &[]).unwrap();
    assert_eq!(settings.not_before, UnixTime(0));
    assert_eq!(settings.log, Level::INFO);
}

#[test]
fn every_fault_is_reported_at_once_and_no_value() {
    let faults = faults(
        &[
            ("CLOAKROOM_SIGNING_KEYS", "canary-key"),
            ("CLOAKROOM_MAC_KEYS", " "),
            ("CLOAKROOM_NOT_BEFORE", "canary-time"),
            ("CLOAKROOM_LOG", "canary-level"),
            ("CLOAKROOM_STACK", "canary\"stack"),
        ],
        &EVERYTHING,
    );
    assert_eq!(
        faults,
        [
            "CLOAKROOM_TABLE is not set",
            "CLOAKROOM_SIGNING_KEYS must be ARNs of KMS keys, separated by commas",
            "CLOAKROOM_MAC_KEYS is not set",
            "CLOAKROOM_NOT_BEFORE must be a number of seconds",
            "CLOAKROOM_LOG must be one of error, warn, info, debug, trace",
            "CLOAKROOM_STACK must be the name of a CloudFormation stack",
        ]
    );
}

#[test]
fn only_the_arn_of_a_key_will_do() {
    assert!(is_key_arn(KEY));
    assert!(is_key_arn(
        "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1"
    ));
    for other in [
        "",
        "1234abcd",
        "alias/jwt",
        "arn:aws:kms:eu-central-1:111122223333:alias/jwt",
        "arn:aws:kms:eu-central-1:111122223333:key/",
        "arn:aws:s3:eu-central-1:111122223333:key/1234abcd",
    ] {
        assert!(!is_key_arn(other), "{other}");
    }
    let one_empty = format!("{KEY},");
    assert_eq!(faults(&[("CLOAKROOM_MAC_KEYS", &one_empty)], &[]).len(), 1);
}

#[test]
fn the_mode_says_which_keys_a_function_needs() {
    let path = std::env::temp_dir().join(format!("cloakroom-modes-{}.toml", std::process::id()));
    let text = "config_version = 1\nissuer = \"https://a.example\"\n[jwt]\nmode = ";
    let needs = |mode: &str, need: Need| {
        std::fs::write(&path, format!("{text}\"{mode}\"\n")).unwrap();
        let file = path.to_str().unwrap();
        load(&source(&[("CLOAKROOM_CONFIG", file)]), &[need])
            .unwrap_err()
            .0
    };
    let kms = ["CLOAKROOM_SIGNING_KEYS is not set"];
    assert_eq!(needs("kms", Need::ToSign), kms);
    assert_eq!(needs("kms", Need::ToPublish), kms);
    assert_eq!(
        needs("data-key", Need::ToSign),
        [
            "CLOAKROOM_TABLE is not set",
            "CLOAKROOM_WRAPPING_KEY is not set",
            "CLOAKROOM_KEYSET_KEY is not set"
        ]
    );
    assert_eq!(
        needs("data-key", Need::ToPublish),
        [
            "CLOAKROOM_TABLE is not set",
            "CLOAKROOM_KEYSET_KEY is not set"
        ]
    );
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_secret_that_cloudfront_shows_is_known_by_its_hash() {
    let secret = |text: &str| {
        let settings = Settings::read(&source(&[("CLOAKROOM_ORIGIN_SECRET", text)]), &[]);
        settings.unwrap().origin_secret
    };
    assert_eq!(secret(""), None);
    let known = secret("shown").unwrap();
    assert!(known.is("shown"));
    for other in ["", "show", "shown ", "Shown"] {
        assert!(!known.is(other), "{other}");
    }
    assert!(!format!("{known:?}").contains("shown"));
}

#[test]
fn the_public_half_of_the_key_sets_key_is_der_in_base64() {
    let settings = |text: &str| {
        Settings::read(&source(&[("CLOAKROOM_KEYSET_PUBLIC_KEY", text)]), &[])
            .map(|settings| settings.keyset_public_key)
    };
    // With padding, as `base64` writes it, and without, as environment files take it.
    assert_eq!(settings("MFk=").unwrap(), [0x30, 0x59]);
    assert_eq!(settings("MFk").unwrap(), [0x30, 0x59]);
    assert!(settings("").unwrap().is_empty());
    assert_eq!(
        settings("MF=k").unwrap_err().faults(),
        ["CLOAKROOM_KEYSET_PUBLIC_KEY must be a public key: DER in base64"]
    );
}

#[test]
fn a_missing_file_is_a_fault_without_its_path_beside_those_of_the_environment() {
    let error = load(
        &source(&[("CLOAKROOM_CONFIG", "/nonexistent/canary.toml")]),
        &[Need::Table],
    )
    .unwrap_err();
    assert_eq!(
        error.faults(),
        [
            "CLOAKROOM_TABLE is not set",
            "CLOAKROOM_CONFIG: the file cannot be read"
        ]
    );
    assert!(!error.to_string().contains("canary"));
}

#[test]
fn the_issuer_of_the_environment_replaces_that_of_the_file() {
    let path = std::env::temp_dir().join(format!("cloakroom-settings-{}.toml", std::process::id()));
    std::fs::write(
        &path,
        "config_version = 1\nissuer = \"https://file.example\"\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let issuer = |values: &[(&str, &str)]| load_config(&source(values)).map(|config| config.issuer);
    let from_file = issuer(&[("CLOAKROOM_CONFIG", path)]);
    let replaced = issuer(&[
        ("CLOAKROOM_CONFIG", path),
        ("CLOAKROOM_ISSUER", "https://environment.example"),
    ]);
    let refused = issuer(&[
        ("CLOAKROOM_CONFIG", path),
        ("CLOAKROOM_ISSUER", "http://canary.example"),
    ]);
    std::fs::remove_file(path).unwrap();
    assert_eq!(from_file.as_deref(), Ok("https://file.example"));
    assert_eq!(replaced.as_deref(), Ok("https://environment.example"));
    assert!(!refused.unwrap_err().to_string().contains("canary"));
}

#[test]
fn each_signing_key_has_an_algorithm_or_none_has() {
    use Algorithm::{ES256, EdDsa, PS256, RS256};
    let keys = format!("{KEY},{KEY}2");
    let read = |algorithms: &str| {
        let variables = [
            ("CLOAKROOM_SIGNING_KEYS", keys.as_str()),
            ("CLOAKROOM_SIGNING_ALGORITHMS", algorithms),
        ];
        Settings::read(&source(&variables), &[Need::SigningKeys])
            .map(|settings| settings.signing_algorithms)
    };
    assert_eq!(read(""), Ok(vec![]));
    assert_eq!(read("ES256,RS256"), Ok(vec![ES256, RS256]));
    assert_eq!(read("ES256"), Ok(vec![ES256, ES256]));
    assert_eq!(read("PS256, EdDSA"), Ok(vec![PS256, EdDsa]));
    for wrong in [
        "HS256",
        "RS256,ES256,RS256",
        "RS256,HS256",
        "RS256,none",
        "rs256,ES256",
        "RS256,",
    ] {
        let fault = "CLOAKROOM_SIGNING_ALGORITHMS must be one of RS256, PS256, ES256, EdDSA, or one for each key of CLOAKROOM_SIGNING_KEYS, separated by commas";
        assert_eq!(
            read(wrong),
            Err(SettingsError(vec![fault.to_owned()])),
            "{wrong}"
        );
    }
}

#[test]
fn the_algorithm_of_the_first_key_replaces_that_of_the_file() {
    let path =
        std::env::temp_dir().join(format!("cloakroom-algorithms-{}.toml", std::process::id()));
    let text =
        "config_version = 1\nissuer = \"https://app.example\"\n[jwt]\nalgorithm = \"PS256\"\n";
    std::fs::write(&path, text).unwrap();
    let keys = format!("{KEY},{KEY}2");
    for (algorithms, expected) in [
        ("", Algorithm::PS256),
        ("ES256,RS256", Algorithm::ES256),
        ("RS256,ES256", Algorithm::RS256),
    ] {
        let variables = source(&[
            ("CLOAKROOM_CONFIG", path.to_str().unwrap()),
            ("CLOAKROOM_SIGNING_KEYS", &keys),
            ("CLOAKROOM_SIGNING_ALGORITHMS", algorithms),
        ]);
        let (_, config) = load(&variables, &[Need::ToSign]).unwrap();
        assert_eq!(config.jwt.algorithm, expected, "{algorithms}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn while_the_origin_secret_changes_both_are_accepted_and_nothing_else() {
    let two = OriginSecret::new("old, new");
    assert!(two.is("old") && two.is("new"));
    for other in ["", ",", "old,new", "old, new", "ol", "older"] {
        assert!(!two.is(other), "{other}");
    }
    let one = OriginSecret::new("new");
    assert!(one.is("new") && !one.is("old"));
    // Nothing that is separated by commas is no secret that somebody could show.
    assert!(!OriginSecret::new(",").is(""));
}
